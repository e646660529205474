package tiered_test

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/tiered"
)

// shardedMap is what a hit is compared with: a map with a read lock for each of
// as many shards, and the same copy.
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

// warm opens a tiered store that has every record in its first tier.
func warm(tb testing.TB, records int) (*tiered.Store, *shardedMap, []state.Key) {
	var misses atomic.Int64
	s := open(tb, openMemory(tb, nil), tiered.Options{
		Staleness: time.Hour, Beat: time.Second,
		OnLookup: func(tier string, hit bool) {
			if !hit || tier != "l1" {
				misses.Add(1)
			}
		},
	})
	plain := &shardedMap{seed: maphash.MakeSeed()}
	keys := make([]state.Key, records)
	for i := range keys {
		keys[i] = newKey(tb)
		op := creation(keys[i])
		op.Record.Data["locale"], op.Record.Data["step"] = json.RawMessage(`"de"`), json.RawMessage(`3`)
		do(tb, s, op)
		plain.put(get(tb, s, keys[i]))
	}
	eventually(tb, "all in the first tier", func() bool {
		misses.Store(0)
		for _, key := range keys {
			get(tb, s, key)
		}
		return misses.Load() == 0
	})
	return s, plain, keys
}

// BenchmarkHit takes turns between a hit in the first tier and the same from a
// plain sharded map, and reports the one as a multiple of the other (x-map).
func BenchmarkHit(b *testing.B) {
	for _, records := range []int{1_000, 50_000} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			s, plain, keys := warm(b, records)
			ctx := b.Context()
			var ratios []float64
			i := 0
			b.ResetTimer()
			for range max(b.N/2000, 20) {
				start := time.Now()
				for n := range 1000 {
					_, _ = plain.get(keys[(i+n*7919)%len(keys)])
				}
				middle := time.Now()
				for n := range 1000 {
					_, _ = s.Get(ctx, keys[(i+n*7919+1)%len(keys)])
				}
				ratios = append(ratios, float64(time.Since(middle))/float64(middle.Sub(start)))
				i += 104729
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "x-map")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkHitParallel reads from many goroutines.
func BenchmarkHitParallel(b *testing.B) {
	s, plain, keys := warm(b, 10_000)
	for name, get := range map[string]func(state.Key) bool{
		"map":    func(k state.Key) bool { _, ok := plain.get(k); return ok },
		"tiered": func(k state.Key) bool { _, err := s.Get(b.Context(), k); return err == nil },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i += 7919 {
					if !get(keys[i%len(keys)]) {
						b.Error("not found")
						return
					}
				}
			})
		})
	}
}

func TestHitAllocatesNothingBeyondTheRecord(t *testing.T) {
	s, plain, keys := warm(t, 10)
	ctx := t.Context()
	record := testing.AllocsPerRun(500, func() { _, _ = plain.get(keys[0]) })
	hit := testing.AllocsPerRun(500, func() { _, _ = s.Get(ctx, keys[0]) })
	if hit > record {
		t.Errorf("a hit allocates %v times, the copy of a record %v times", hit, record)
	}
}
