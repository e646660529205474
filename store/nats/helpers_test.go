package nats_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// patience is how long a test waits for what has to happen.
const patience = 60 * time.Second

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
			Namespace: key.Namespace, Kind: "session", Ref: key.Ref, User: user,
			Secret: state.Secret{Hash: state.Hash{1, 2, 3}},
			Data:   data(0),
		},
		Idle: time.Hour, Lifetime: 24 * time.Hour, ID: newID(),
	}
}

func data(n int) map[string]json.RawMessage {
	b, _ := json.Marshal(n)
	return map[string]json.RawMessage{"n": b}
}

func newID() (id state.OpID) {
	rand.Read(id[:])
	return id
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

// within returns a context with so much time.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually ends the test unless cond returns nil in time.
func eventually(t testing.TB, what string, cond func() error) {
	t.Helper()
	var err error
	for start := time.Now(); time.Since(start) < patience; time.Sleep(10 * time.Millisecond) {
		if err = cond(); err == nil {
			return
		}
	}
	t.Fatalf("%s: after %v still: %v", what, patience, err)
}

// await ends the test unless the counter reaches n in time.
func await(t testing.TB, what string, counter *atomic.Int64, n int64) {
	t.Helper()
	for start := time.Now(); counter.Load() < n; time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("%s: %d of %d after %v", what, counter.Load(), n, patience)
		}
	}
}
