package embedded

import (
	"slices"
	"testing"
)

const keysOfChild = 4

// three starts three processes and waits until each is there. Such as never sync
// only lose what they can by that.
func three(t *testing.T, all []Options, never bool) []*child {
	t.Helper()
	var children []*child
	for i, opts := range all {
		children = append(children, startChild(t, childOptions{Options: opts, From: i * keysOfChild, To: (i + 1) * keysOfChild, NeverSync: never}))
	}
	for _, c := range children {
		eventually(t, "a node starts", func() bool { return c.has("started") })
	}
	return children
}

// progress waits until each of them got more acknowledged for each of its keys.
func progress(t *testing.T, children ...*child) {
	t.Helper()
	for _, c := range children {
		before := c.least()
		eventually(t, "a node's writes are acknowledged", func() bool { return c.least() > before+10 })
	}
}

// gather adds what was acknowledged by processes that ended.
func gather(acked map[int]int, children ...*child) {
	for _, c := range children {
		for key, n := range c.acked {
			acked[key] = max(acked[key], n)
		}
	}
}

// Each writes. One after another is killed, so that leaders are among them, and
// then all three at once. What any of them was told is there when they start
// again.
func TestKilledProcessesLoseNothingAcknowledged(t *testing.T) {
	t.Parallel()
	all, acked := trio(t), map[int]int{}
	children := three(t, all, false)
	for _, c := range children {
		c.tell(t, "load")
	}
	progress(t, children...)
	for i, victim := range children {
		victim.kill()
		gather(acked, victim)
		others := slices.Concat(children[:i], children[i+1:])
		progress(t, others...)
		from := (3 + i) * keysOfChild // it wrote what gather has, and would begin anew
		children[i] = startChild(t, childOptions{Options: all[i], From: from, To: from + keysOfChild})
		eventually(t, "the killed node starts again", func() bool { return children[i].has("started") })
		children[i].tell(t, "load")
		progress(t, children...)
	}
	for _, c := range children {
		if err := c.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
	for _, c := range children {
		<-c.done
	}
	gather(acked, children...)
	if len(acked) != 6*keysOfChild {
		t.Errorf("%d keys were written", len(acked))
	}
	// Only this process uses the folders now, so it can look for itself.
	for _, s := range startAll(t, all) {
		expectAll(t, s, acked)
	}
}
