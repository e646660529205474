package embedded

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

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

// At the level all a write is acknowledged when each of the nodes has it, and
// is below its level while one is not there.
func TestAllWaitsForEachNode(t *testing.T) {
	t.Parallel()
	all := trio(t)
	for i := range all {
		all[i].Level = state.ReplicateAll
	}
	stores := openAll(t, all)
	for _, s := range stores {
		if g := s.Guarantees(); g.Replication != state.ReplicateAll || g.Durability != state.Replicated {
			t.Errorf("node %s: %+v", s.Node().Name(), g)
		}
	}
	record := recordOf(1, 0)
	create := state.CreateOp{Record: record, Idle: time.Hour, Lifetime: time.Hour}
	eventually(t, "a write reaches all", func() bool {
		err := stores[0].Apply(t.Context(), create)[0].Err
		return err == nil || errors.Is(err, state.ErrExists)
	})
	if err := stores[2].Close(); err != nil {
		t.Fatal(err)
	}
	// A leader may have to be elected before.
	var below *state.BelowLevelError
	remove := state.DeleteOp{Key: record.Key(), Reason: state.ReasonRevoked}
	eventually(t, "a write is below its level", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := stores[0].Apply(ctx, remove)[0].Err
		if err == nil {
			t.Fatal("a write was acknowledged that one node does not have")
		}
		return errors.As(err, &below)
	})
	if below.Level != state.ReplicateAll || below.Need != 2 {
		t.Errorf("%+v", below)
	}
	again := openAll(t, all[2:])
	eventually(t, "it reaches all when the node is back", func() bool {
		return again[0].Apply(t.Context(), remove)[0].Err == nil
	})
}

// openAll opens stores at once, as a first start wants.
func openAll(t *testing.T, all []Options) []*Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stores, errs := make([]*Store, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	for i, opts := range all {
		wg.Go(func() { stores[i], errs[i] = Open(ctx, opts) })
	}
	wg.Wait()
	for _, s := range stores {
		if s != nil {
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return stores
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
