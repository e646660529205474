package redis_test

import (
	"context"
	"errors"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// Updates that share a script do not share their errors, and each is told of.
func TestUpdateThatFailsSpoilsNoOther(t *testing.T) {
	server := redisserver.Start(t)
	s := open(t, redis.Options{Addresses: []string{server.Addr()}})
	var keys []state.Key
	for range 40 {
		keys = append(keys, create(t, s, "alice"))
	}
	const broken, stale, gone = 3, 17, 33
	name := "coatcheck:{test.07}:r:" + string(keys[broken].Ref.Bytes()[1:])
	if n := server.Do("DEL", name); n != "1" {
		t.Fatalf("DEL of the record: %s", n)
	}
	server.Do("LPUSH", name, "x")
	do(t, s, state.UpdateOp{Key: keys[stale], Version: 1, Data: data(1)})
	do(t, s, state.DeleteOp{Key: keys[gone], Reason: state.ReasonRevoked})

	changes, err := s.Watch(t.Context(), state.WatchOptions{Namespace: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ops := make([]state.Op, len(keys))
	for i, key := range keys {
		ops[i] = state.UpdateOp{Key: key, Version: 1, Data: data(i), ID: newID()}
	}
	for i, r := range s.Apply(context.Background(), ops...) {
		want := map[int]error{broken: state.ErrCorrupt, stale: state.ErrConflict, gone: state.ErrNotFound}[i]
		if !errors.Is(r.Err, want) {
			t.Errorf("update %d: %v, want %v", i, r.Err, want)
		}
	}
	told := make(map[state.Key]bool)
	for len(told) < len(keys)-3 {
		select {
		case c := <-changes:
			if c.Type == state.Gap {
				t.Fatal("a gap without a loss")
			}
			if c.Type == state.Updated {
				told[c.Key] = true
			}
		case <-within(t, patience).Done():
			t.Fatalf("%d of %d updates were told of", len(told), len(keys)-3)
		}
	}
	if told[keys[broken]] || told[keys[stale]] || told[keys[gone]] {
		t.Error("an update that failed is told of")
	}
}
