package memory_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// manual is a clock that moves when told.
type manual struct {
	mu  sync.Mutex
	now time.Time
}

func newManual() *manual { return &manual{now: time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)} }

func (m *manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

func open(t testing.TB, opts memory.Options) *memory.Store {
	t.Helper()
	s := memory.New(opts)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func newKey(t testing.TB, routing byte) state.Key {
	t.Helper()
	ref, err := state.NewRef(routing, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return state.Key{Namespace: "test", Ref: ref}
}

// creation returns an operation that creates a record with an hour to live.
func creation(key state.Key, user string) state.CreateOp {
	return state.CreateOp{
		Record: state.Record{
			Namespace: key.Namespace,
			Kind:      "session",
			Ref:       key.Ref,
			User:      user,
			Secret:    state.Secret{Hash: state.Hash{1, 2, 3}},
			Data:      map[string]json.RawMessage{"cart": json.RawMessage(`["apple"]`)},
		},
		Idle:     time.Hour,
		Lifetime: 24 * time.Hour,
	}
}

func do(t testing.TB, s state.Store, op state.Op) state.Result {
	t.Helper()
	res, err := state.Do(context.Background(), s, op)
	if err != nil {
		t.Fatalf("%T: %v", op, err)
	}
	return res
}

func create(t testing.TB, s state.Store, user string) state.Key {
	t.Helper()
	key := newKey(t, 7)
	do(t, s, creation(key, user))
	return key
}
