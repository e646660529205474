package history

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// NewKey returns a key of nobody's, with a routing byte.
func NewKey(t testing.TB, routing byte) state.Key {
	t.Helper()
	ref, err := state.NewRef(routing, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return state.Key{Namespace: "test", Ref: ref}
}

// Creation returns an operation that creates a record with an hour to live.
func Creation(key state.Key, user string) state.CreateOp {
	return state.CreateOp{
		Record: state.Record{
			Namespace: key.Namespace, Kind: "session", Ref: key.Ref, User: user,
			Secret: state.Secret{Hash: state.Hash{1, 2, 3}},
			Data:   Data(0),
		},
		Idle: time.Hour, Lifetime: 24 * time.Hour, ID: NewID(),
	}
}

// Revocation ends a record.
func Revocation(key state.Key) state.DeleteOp {
	return state.DeleteOp{Key: key, Reason: state.ReasonRevoked, By: "admin", ID: NewID()}
}

// Data is that of the nth update.
func Data(n int) map[string]json.RawMessage {
	b, _ := json.Marshal(n)
	return map[string]json.RawMessage{"n": b}
}

// NewID returns an operation's id.
func NewID() (id state.OpID) {
	rand.Read(id[:])
	return id
}

// Do makes an operation that must succeed.
func Do(t testing.TB, s state.Store, op state.Op) state.Result {
	t.Helper()
	res, err := state.Do(context.Background(), s, op)
	if err != nil {
		t.Fatalf("%T: %v", op, err)
	}
	return res
}

// Create creates a record of a user.
func Create(t testing.TB, s state.Store, user string) state.Key {
	t.Helper()
	key := NewKey(t, 7)
	Do(t, s, Creation(key, user))
	return key
}
