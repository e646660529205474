package e2e

import (
	"net/http"
	"slices"
	"sync"
	"testing"
)

// A trio is three replicas that keep the sessions themselves.
type trio struct {
	args     [][]string
	replicas []*server
}

// startTrio starts them at once, since the first start wants all.
func startTrio(t *testing.T) *trio {
	t.Helper()
	n, store := &trio{replicas: make([]*server, 3)}, onReplicas(t)
	for i := range n.replicas {
		n.args = append(n.args, append([]string{"serve"}, store.flags(i)...))
	}
	n.start(t)
	return n
}

// start starts those that are not there.
func (n *trio) start(t *testing.T) {
	var all sync.WaitGroup
	for i, args := range n.args {
		if n.replicas[i] == nil {
			all.Go(func() { n.replicas[i] = start(t, args) })
		}
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// kill is kill -9 of some of them.
func (n *trio) kill(which ...int) {
	for _, i := range which {
		n.replicas[i].kill()
		n.replicas[i] = nil
	}
}

// Three processes and no other server: what a client was told is there when one
// is killed, and when all are.
func TestReplicasKeepSessionsThemselves(t *testing.T) {
	t.Parallel()
	n := startTrio(t)
	session := open(t, n.replicas[0].url, "")
	want := []string{"first"}
	if !put(t, n.replicas[0].url, session, "first") {
		t.Fatal("the first item was not taken")
	}
	expect := func(what string) {
		t.Helper()
		for i, r := range n.replicas {
			if r == nil {
				continue
			}
			if got := basketOf(t, r.url, session); !slices.Equal(slices.Compact(got), want) {
				t.Errorf("%s, replica %d: the basket has %v, want %v", what, i, got, want)
			}
		}
	}
	expect("at first")

	n.kill(0)
	eventually(t, "another replica takes over", func() bool { return put(t, n.replicas[1].url, session, "second") })
	want = append(want, "second")
	expect("without one")

	n.kill(1)
	eventually(t, "one without a majority refuses", func() bool {
		r := ping(t, n.replicas[2].url, session, "")
		return r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != ""
	})
	n.kill(2)
	n.start(t)
	eventually(t, "the session goes on", func() bool { return put(t, n.replicas[2].url, session, "third") })
	want = append(want, "third")
	expect("after all were killed")

	nodes := 0
	for _, finding := range objects(t, "doctor", "--admin="+n.replicas[1].admin) {
		if finding["check"] == "node" {
			nodes++
		}
	}
	if nodes != 3 {
		t.Errorf("doctor knows %d nodes", nodes)
	}
	for i, r := range n.replicas {
		r.terminate()
		if status := r.wait(); status != 0 {
			t.Errorf("replica %d ended with status %d", i, status)
		}
	}
}
