package embedded

import (
	"testing"
)

// everywhere reports whether each stream is kept by so many nodes that have all
// of it.
func everywhere(t *testing.T, s *Server, nodes int) bool {
	t.Helper()
	streams, err := s.Streams(t.Context())
	if err != nil || len(streams) < vaultStreams {
		return false
	}
	for _, st := range streams {
		if st.Replicas != nodes || st.Current != nodes {
			return false
		}
	}
	return true
}

// A single node becomes three while it is written to, and then is gone: what
// it acknowledged is with the others.
func TestOneNodeGrowsToThreeUnderLoadAndLosesNothing(t *testing.T) {
	t.Parallel()
	all := trio(t)
	const keys = 12
	one := all[0]
	one.Peers = nil
	a := start(t, one)
	v := vaultOf(t, a)
	l := startLoad(t.Context(), v, 0, keys, func(int, int) {})
	eventually(t, "there is load", func() bool { return l.least(keys) > 10 })
	others := startAll(t, all[1:])
	eventually(t, "all is kept by three nodes", func() bool { return everywhere(t, others[1], 3) })
	before := l.least(keys)
	eventually(t, "the load goes on", func() bool { return l.least(keys) > before+10 })
	acked := l.stop()
	if members, err := others[0].Members(t.Context()); err != nil || len(members) != 3 || !members[0].Connected || !members[2].Connected {
		t.Errorf("members %+v, %v", members, err)
	}
	stop(t, a)
	expectAll(t, others[0], acked)
	// It comes back as what it was started as, and is one of three.
	expectAll(t, start(t, one), acked)
}

// expectAll wants what was acknowledged to be there, or what was written later.
func expectAll(t *testing.T, s *Server, acked map[int]int) {
	t.Helper()
	v := vaultOf(t, s)
	lost, sum := 0, 0
	for key, n := range acked {
		got, err := v.getLong(t.Context(), key)
		if err != nil || got < n {
			t.Errorf("key %d has %d (%v), %d was acknowledged", key, got, err, n)
			lost++
		}
		sum += n
	}
	t.Logf("%d keys, %d acknowledged writes, %d keys lost something", len(acked), sum, lost)
}
