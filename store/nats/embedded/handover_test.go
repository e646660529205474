package embedded

import (
	"testing"
)

// Nodes are stopped and started again in order, one after another, each of them
// a leader of something, while another is written to and read: nothing that it
// is asked fails, since what a node leads is handed over.
func TestNothingFailsWhenAnotherNodeStopsInOrder(t *testing.T) {
	t.Parallel()
	all := trio(t)
	servers := startAll(t, all)
	const keys = 12
	l := startLoad(t.Context(), vaultOf(t, servers[0]), 0, keys, func(int, int) {})
	eventually(t, "there is load", func() bool { return l.least(keys) > 10 })
	for _, i := range []int{1, 2, 1, 2, 1} { // servers that are younger than 10 s do not say that they have no leader
		stop(t, servers[i])
		before := l.least(keys)
		eventually(t, "the load goes on without a node", func() bool { return l.least(keys) > before+10 })
		servers[i] = start(t, all[i])
		eventually(t, "the node has caught up", func() bool { return everywhere(t, servers[0], 3) })
	}
	acked := l.stop()
	for _, err := range l.failed {
		t.Errorf("while others stopped: %v", err)
	}
	expectAll(t, servers[2], acked)
}
