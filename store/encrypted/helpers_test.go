package encrypted_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const namespace = "test"

func newRef(t testing.TB) state.Ref {
	t.Helper()
	ref, err := state.NewRef(7, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// creation returns an operation that creates a full record.
func creation(t testing.TB, user string) state.CreateOp {
	var hash state.Hash
	rand.Read(hash[:])
	return state.CreateOp{
		Record: state.Record{
			Namespace: namespace, Kind: "session", Ref: newRef(t), User: user,
			Secret: state.Secret{Hash: hash},
			Meta: state.Metadata{
				Address: netip.MustParseAddr("192.0.2.77"), UserAgent: "inspector/1.2",
				ProtocolVersion: "2025-11-25", Capabilities: json.RawMessage(`{"roots":{}}`),
			},
			Data: map[string]json.RawMessage{"cart": json.RawMessage(`["coat","hat"]`), "step": json.RawMessage(`3`)},
		},
		Idle: time.Hour, Lifetime: 24 * time.Hour,
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

func get(t testing.TB, s state.Store, key state.Key) state.Record {
	t.Helper()
	r, err := s.Get(context.Background(), key)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	return r
}
