package tiered_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/cache"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

const namespace = "test"

func now(clock *statetest.Clock) func() time.Time {
	if clock == nil {
		return nil
	}
	return clock.Now
}

func newCache(t testing.TB) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the cache: %v", err)
		}
	})
	return c
}

// shared is a cache that outlives the stores before which it stands, as one in
// another process does.
type shared struct{ state.Cache }

func (shared) Close() error { return nil }

// open puts caches before a store; one of its own if none are given.
func open(t testing.TB, inner state.Store, opts tiered.Options) *tiered.Store {
	t.Helper()
	if opts.Tiers == nil {
		opts.Tiers = []tiered.Tier{{Cache: newCache(t)}}
	}
	s, err := tiered.New(inner, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func openMemory(t testing.TB, clock *statetest.Clock) state.Store {
	t.Helper()
	s := memory.New(memory.Options{Clock: now(clock)})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the inner store: %v", err)
		}
	})
	return s
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
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the inner store: %v", err)
		}
	})
	return s
}

func newKey(t testing.TB) state.Key {
	t.Helper()
	ref, err := state.NewRef(7, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return state.Key{Namespace: namespace, Ref: ref}
}

func creation(key state.Key) state.CreateOp {
	return state.CreateOp{
		Record: state.Record{
			Namespace: key.Namespace, Kind: "session", Ref: key.Ref, User: "u-" + key.Ref.String(),
			Secret: state.Secret{Hash: state.Hash{1, 2, 3}},
			Data:   map[string]json.RawMessage{"cart": json.RawMessage(`["apple"]`)},
		},
		Idle: time.Hour, Lifetime: 24 * time.Hour,
	}
}

func do(t testing.TB, s state.Store, op state.Op) state.Result {
	t.Helper()
	res, err := state.Do(t.Context(), s, op)
	if err != nil {
		t.Fatalf("%T: %v", op, err)
	}
	return res
}

func create(t testing.TB, s state.Store) state.Key {
	t.Helper()
	key := newKey(t)
	do(t, s, creation(key))
	return key
}

func get(t testing.TB, s state.Store, key state.Key) state.Record {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	return r
}

func update(t testing.TB, s state.Store, key state.Key, version uint64, value string) state.Result {
	t.Helper()
	return do(t, s, state.UpdateOp{Key: key, Version: version, Data: map[string]json.RawMessage{"v": json.RawMessage(value)}})
}

func isGone(t testing.TB, s state.Store, key state.Key) bool {
	t.Helper()
	_, err := s.Get(t.Context(), key)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		t.Fatalf("get: %v", err)
	}
	return err != nil
}

// eventually waits for what has to happen soon.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after half a minute", what)
		}
	}
}
