package statetest

import (
	"context"
	"iter"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A mutant is a store that breaks the contract in one way: it does what it
// overrides its own way and leaves the rest to a store that keeps it.
type mutant struct {
	state.Store
	one   func(ctx context.Context, s state.Store, op state.Op) state.Result
	apply func(ctx context.Context, s state.Store, ops []state.Op) []state.Result
	get   func(ctx context.Context, s state.Store, k state.Key) (state.Record, error)
	list  func(ctx context.Context, s state.Store, q state.Query) iter.Seq2[state.Record, error]
	sweep func(ctx context.Context, s state.Store, o state.SweepOptions) ([]state.End, error)
	watch func(ctx context.Context, s state.Store, o state.WatchOptions) (<-chan state.Change, error)
	close func(s state.Store) error
}

func (m *mutant) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	switch {
	case m.apply != nil:
		return m.apply(ctx, m.Store, ops)
	case m.one == nil:
		return m.Store.Apply(ctx, ops...)
	}
	results := make([]state.Result, len(ops))
	for i, op := range ops {
		results[i] = m.one(ctx, m.Store, op)
	}
	return results
}

func (m *mutant) Get(ctx context.Context, k state.Key) (state.Record, error) {
	if m.get != nil {
		return m.get(ctx, m.Store, k)
	}
	return m.Store.Get(ctx, k)
}

func (m *mutant) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	if m.list != nil {
		return m.list(ctx, m.Store, q)
	}
	return m.Store.List(ctx, q)
}

func (m *mutant) Sweep(ctx context.Context, o state.SweepOptions) ([]state.End, error) {
	if m.sweep != nil {
		return m.sweep(ctx, m.Store, o)
	}
	return m.Store.Sweep(ctx, o)
}

func (m *mutant) Watch(ctx context.Context, o state.WatchOptions) (<-chan state.Change, error) {
	if m.watch != nil {
		return m.watch(ctx, m.Store, o)
	}
	return m.Store.Watch(ctx, o)
}

func (m *mutant) Close() error {
	if m.close != nil {
		return m.close(m.Store)
	}
	return m.Store.Close()
}

// A mutation names a mutant and the checks that must catch it.
type mutation struct {
	name   string
	make   func() *mutant
	caught []string
}

// TestBrokenStoresAreCaught runs checks on stores that break the contract. Each
// check named must fail; it passes on the store beneath, as TestRunOnMemory
// shows.
func TestBrokenStoresAreCaught(t *testing.T) {
	skipShort(t)
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range m.caught {
				open := func(tb testing.TB, clock *Clock) state.Store {
					broken := m.make()
					broken.Store = openMemory(tb, clock)
					return broken
				}
				r := recordCheck(t, storeGroups(), name, Harness{Open: open})
				if !r.Failed() {
					t.Errorf("%s did not notice; skipped: %v; it said: %s", name, r.Skipped(), r.text())
				}
				t.Logf("%s: %.300s", name, r.text())
			}
		})
	}
}

func mutations() []mutation {
	var all []mutation
	for _, of := range [][]mutation{writeMutations(), limitMutations(), readMutations(), watchMutations(), lifeMutations()} {
		all = append(all, of...)
	}
	return all
}
