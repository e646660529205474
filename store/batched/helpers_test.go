package batched_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func now(clock *statetest.Clock) func() time.Time {
	if clock == nil {
		return nil
	}
	return clock.Now
}

func open(t testing.TB, inner state.Store, opts batched.Options) *batched.Store {
	t.Helper()
	s := batched.New(inner, opts)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func openMemory(clock *statetest.Clock) state.Store {
	return memory.New(memory.Options{Clock: now(clock)})
}

func openFile(t testing.TB, path string, clock func() time.Time) state.Store {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "state.db")
	}
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newKey(t testing.TB) state.Key {
	t.Helper()
	ref, err := state.NewRef(7, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return state.Key{Namespace: "test", Ref: ref}
}

func creation(key state.Key) state.CreateOp {
	return state.CreateOp{
		Record: state.Record{
			Namespace: key.Namespace, Kind: "session", Ref: key.Ref, User: "u-" + key.Ref.String(),
			Data: map[string]json.RawMessage{"cart": json.RawMessage(`["apple"]`)},
		},
		Idle: time.Hour, Lifetime: 24 * time.Hour,
	}
}

func updating(key state.Key, version uint64, value string) state.UpdateOp {
	return state.UpdateOp{Key: key, Version: version, Data: map[string]json.RawMessage{"v": json.RawMessage(value)}}
}

func do(t testing.TB, s state.Store, op state.Op) state.Result {
	t.Helper()
	res, err := state.Do(t.Context(), s, op)
	if err != nil {
		t.Fatalf("%T: %v", op, err)
	}
	return res
}

func get(t testing.TB, s state.Store, key state.Key) state.Record {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	return r
}

// A gate is a store whose Apply waits until it is let through, once it is
// shut.
type gate struct {
	state.Store
	shut    atomic.Bool
	entered chan []state.Op // what waits at the gate
	let     chan error      // an error is what all operations get instead
}

func newGate(inner state.Store) *gate {
	return &gate{Store: inner, entered: make(chan []state.Op, 16), let: make(chan error)}
}

func (g *gate) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	if !g.shut.Load() {
		return g.Store.Apply(ctx, ops...)
	}
	g.entered <- ops
	var err error
	select {
	case err = <-g.let:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		return g.Store.Apply(ctx, ops...)
	}
	results := make([]state.Result, len(ops))
	for i := range results {
		results[i].Err = err
	}
	return results
}

// within is a context that ends when a test hangs.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
