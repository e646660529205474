package memory_test

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// shardedMap is what a Get is compared with: a map with a read lock for each
// of as many shards, and the same copy.
type shardedMap struct {
	seed   maphash.Seed
	shards [64]struct {
		mu      sync.RWMutex
		records map[state.Key]*state.Record
		_       [64]byte
	}
}

func (m *shardedMap) get(key state.Key) (state.Record, bool) {
	sh := &m.shards[maphash.Comparable(m.seed, key.Ref)%64]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	r := sh.records[key]
	if r == nil {
		return state.Record{}, false
	}
	return r.Clone(), true
}

func (m *shardedMap) put(r state.Record) {
	sh := &m.shards[maphash.Comparable(m.seed, r.Ref)%64]
	if sh.records == nil {
		sh.records = make(map[state.Key]*state.Record)
	}
	sh.records[r.Key()] = &r
}

// BenchmarkGet reads records with some data from the store and from a plain
// sharded map. The first two sub-benchmarks do it from many goroutines; the
// third takes turns between the two, so that a busy machine is busy for both,
// and reports the store's time as a multiple of the map's (x-map).
func BenchmarkGet(b *testing.B) {
	for _, records := range []int{1_000, 100_000} {
		store, plain, keys := filled(b, records)
		b.Run(fmt.Sprintf("records=%d/map", records), func(b *testing.B) {
			parallel(b, keys, func(key state.Key) bool {
				_, ok := plain.get(key)
				return ok
			})
		})
		b.Run(fmt.Sprintf("records=%d/store", records), func(b *testing.B) {
			ctx := b.Context()
			parallel(b, keys, func(key state.Key) bool {
				_, err := store.Get(ctx, key)
				return err == nil
			})
		})
		b.Run(fmt.Sprintf("records=%d/ratio", records), func(b *testing.B) {
			b.ReportMetric(ratio(b, store, plain, keys), "x-map")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// ratio takes turns and returns the median of the ratios of all turns.
func ratio(b *testing.B, store *memory.Store, plain *shardedMap, keys []state.Key) float64 {
	ctx := b.Context()
	var ratios []float64
	i := 0
	for range max(b.N/2000, 5) {
		start := time.Now()
		for n := range 1000 {
			_, _ = plain.get(keys[(i+n*7919)%len(keys)])
		}
		middle := time.Now()
		for n := range 1000 {
			_, _ = store.Get(ctx, keys[(i+n*7919+1)%len(keys)])
		}
		ratios = append(ratios, float64(time.Since(middle))/float64(middle.Sub(start)))
		i += 104729
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func filled(b *testing.B, n int) (*memory.Store, *shardedMap, []state.Key) {
	store := open(b, memory.Options{})
	plain := &shardedMap{seed: maphash.MakeSeed()}
	keys := make([]state.Key, n)
	for i := range keys {
		keys[i] = newKey(b, byte(i))
		op := creation(keys[i], fmt.Sprintf("user-%d", i))
		op.Record.Data = map[string]json.RawMessage{
			"cart": json.RawMessage(`["coat"]`), "locale": json.RawMessage(`"de"`), "step": json.RawMessage(`3`),
		}
		do(b, store, op)
		plain.put(op.Record)
	}
	return store, plain, keys
}

func parallel(b *testing.B, keys []state.Key, get func(state.Key) bool) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i += 7919 {
			if !get(keys[i%len(keys)]) {
				b.Error("not found")
				return
			}
		}
	})
}

// BenchmarkApply creates, touches, updates and deletes.
func BenchmarkApply(b *testing.B) {
	s := open(b, memory.Options{})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := newKey(b, 1)
			create := creation(key, key.Ref.String())
			create.Limit.PerUser = 5
			for _, res := range s.Apply(context.Background(),
				create,
				state.TouchOp{Key: key, Idle: time.Hour},
				state.UpdateOp{Key: key, Version: 1, Data: create.Record.Data},
				state.DeleteOp{Key: key, Reason: state.ReasonLogout},
			) {
				if res.Err != nil {
					b.Error(res.Err)
					return
				}
			}
		}
	})
}
