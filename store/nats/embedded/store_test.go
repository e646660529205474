package embedded

import (
	"context"
	"errors"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestStoreStopsItsNode(t *testing.T) {
	t.Parallel()
	opts := alone(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for noSync, want := range map[bool]state.Durability{false: state.Synced, true: state.Buffered} {
		opts.NoSync = noSync
		s, err := Open(ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		if g := s.Guarantees(); g.Durability != want || g.Replication != state.ReplicateNone || !g.Shared {
			t.Errorf("without syncs %v: %+v", noSync, g)
		}
		if s.Node().Name() != opts.Name {
			t.Errorf("its node is %s", s.Node().Name())
		}
		for range 2 {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		record := recordOf(1, 0)
		if _, err := s.Get(ctx, record.Key()); !errors.Is(err, state.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// promises wants a store on each node to promise that a majority of three has
// what it acknowledges.
func promises(t *testing.T, servers []*Server) {
	t.Helper()
	for _, s := range servers {
		if g := vaultOf(t, s).store.Guarantees(); g.Replication != state.ReplicateQuorum || g.Durability != state.Replicated {
			t.Errorf("node %s: %+v", s.Name(), g)
		}
	}
}
