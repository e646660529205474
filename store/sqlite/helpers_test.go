package sqlite

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const testNamespace = "test"

func newKey(t testing.TB) state.Key {
	t.Helper()
	ref, err := state.NewRef(7, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return state.Key{Namespace: testNamespace, Ref: ref}
}

// createOp creates a session of two hours under key, whose data has a value.
func createOp(key state.Key, value string) state.CreateOp {
	return state.CreateOp{
		Record: state.Record{
			Namespace: key.Namespace, Kind: "session", Ref: key.Ref, User: "alice",
			Data: valueData(value),
		},
		Idle: 2 * time.Hour, Lifetime: 24 * time.Hour,
	}
}

func valueData(value string) map[string]json.RawMessage {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings can be marshalled
	}
	return map[string]json.RawMessage{"value": b}
}

func do(t testing.TB, s state.Store, op state.Op) state.Result {
	t.Helper()
	r, err := state.Do(t.Context(), s, op)
	if err != nil {
		t.Fatalf("%T: %v", op, err)
	}
	return r
}

// create stores a new session and returns its key.
func create(t testing.TB, s state.Store, value string) state.Key {
	t.Helper()
	key := newKey(t)
	do(t, s, createOp(key, value))
	return key
}

func get(t testing.TB, s state.Store, key state.Key) state.Record {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return r
}

// eventually waits for something that another goroutine or process does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}
