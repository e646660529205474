package memory

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func randomRef(t testing.TB) state.Ref {
	ref, err := state.NewRef(1, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// What every way to end a record must give back: all of its room, that of its
// tombstone after a day.
func TestAllRoomComesBack(t *testing.T) {
	ctx := context.Background()
	var mu sync.Mutex
	now := time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)
	advance := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	s := New(Options{Clock: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	defer s.Close()

	var keys []state.Key
	for i := range 300 {
		r := state.Record{Namespace: "ns", Kind: fmt.Sprintf("kind%d", i%3), Ref: randomRef(t), User: fmt.Sprintf("user%d", i%7)}
		op := state.CreateOp{Record: r, Idle: time.Hour, Lifetime: 3 * time.Hour, Limit: state.Limit{PerUser: 10}, By: "test"}
		if _, err := state.Do(ctx, s, op); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, r.Key())
	}
	for i, key := range keys {
		data := map[string]json.RawMessage{"k": json.RawMessage(`"` + strings.Repeat("x", i) + `"`)}
		_ = s.Apply(ctx,
			state.UpdateOp{Key: key, Version: 1, Data: data},
			state.UpdateOp{Key: key, Version: 2, Data: map[string]json.RawMessage{}, Meta: &state.Metadata{UserAgent: "agent"}},
			state.SetOwnerOp{Key: key, Owner: "replica"},
		)
		_ = s.Append(ctx, key, 0, state.EventAppend{Stream: "a", Events: [][]byte{make([]byte, i), nil}})
		_ = s.Append(ctx, key, 0, state.EventAppend{Stream: "a", Index: 9, Skip: true, Events: [][]byte{make([]byte, i)}})
		_ = s.Append(ctx, key, 0, state.EventAppend{Stream: "b", Events: [][]byte{make([]byte, i)}})
		_ = s.Trim(ctx, key, state.EventBounds{Bytes: int64(i)})
		if i%2 == 0 {
			_ = s.Apply(ctx, state.DeleteOp{Key: key, Reason: state.ReasonLogout, By: "test"})
		}
	}
	advance(2 * time.Hour)
	sweepAll(t, s)
	if n := s.room.records.Load(); n != 0 {
		t.Errorf("%d records are counted and none is left", n)
	}
	advance(state.TombstoneTTL)
	sweepAll(t, s)
	if n := s.room.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are counted and nothing is left", n)
	}
	for i := range s.shards {
		if n, m := len(s.shards[i].records), len(s.shards[i].tombs); n+m != 0 {
			t.Errorf("shard %d keeps %d records and %d tombstones", i, n, m)
		}
	}
	sp := s.findSpace("ns")
	if len(sp.order.chunks) != 0 {
		t.Errorf("%d chunks are left in the order", len(sp.order.chunks))
	}
	for kind, tab := range sp.tables {
		if n := len(tab.users) + len(tab.live) + tab.expired.len() + tab.tombs.len(); n != 0 {
			t.Errorf("kind %s: %d things are left in the indexes", kind, n)
		}
	}
}

func sweepAll(t *testing.T, s *Store) {
	t.Helper()
	for range 100 {
		ends, err := s.Sweep(context.Background(), state.SweepOptions{Namespace: "ns", Max: 100})
		if err != nil {
			t.Fatal(err)
		}
		if len(ends) == 0 {
			continue // tombstones may be left
		}
	}
}

// Ending a record must never need room.
func TestATombstoneTakesLessThanItsRecord(t *testing.T) {
	r := state.Record{User: "u"}
	end := state.End{User: "u", By: strings.Repeat("b", state.MaxOwnerBytes)}
	if tombCost(&end) > recordCost(&r) {
		t.Errorf("tombstone %d bytes, record %d", tombCost(&end), recordCost(&r))
	}
}

func TestRoomIsNeverOvershot(t *testing.T) {
	var r room
	r.maxRecords, r.maxBytes = 100, 1000
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				err := r.reserve(1, 30)
				if r.records.Load() > 100 || r.bytes.Load() > 1000 {
					t.Error("overshot")
				}
				if err == nil {
					r.release(1, 30)
				} else if !errors.Is(err, state.ErrFull) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if r.records.Load() != 0 || r.bytes.Load() != 0 {
		t.Errorf("%d records and %d bytes left", r.records.Load(), r.bytes.Load())
	}
}

// However many records were ended between two sweeps, the next one forgets
// them all once they are due: a bound would let them pile up.
func TestOneSweepForgetsAllTombstonesThatAreDue(t *testing.T) {
	ctx := context.Background()
	now := time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)
	s := New(Options{Clock: func() time.Time { return now }})
	defer s.Close()
	for i := range 5000 {
		r := state.Record{Namespace: "ns", Kind: fmt.Sprintf("kind%d", i%2), Ref: randomRef(t)}
		for _, res := range s.Apply(ctx,
			state.CreateOp{Record: r, Idle: time.Hour, Lifetime: time.Hour},
			state.DeleteOp{Key: r.Key(), Reason: state.ReasonLogout},
		) {
			if res.Err != nil {
				t.Fatal(res.Err)
			}
		}
	}
	now = now.Add(state.TombstoneTTL)
	if _, err := s.Sweep(ctx, state.SweepOptions{Namespace: "ns", Max: 10}); err != nil {
		t.Fatal(err)
	}
	if n := s.room.bytes.Load(); n != 0 {
		t.Errorf("%d bytes of tombstones are left", n)
	}
}
