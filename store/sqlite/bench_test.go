package sqlite

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// parallel runs f from n goroutines until b.N calls are done.
func parallel(b *testing.B, n int, f func(worker int)) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				f(i)
			}
		})
	}
	wg.Wait()
}

func BenchmarkGet(b *testing.B) {
	for name, opts := range map[string]Options{
		"Cached":      {},
		"Uncached":    {CacheBytes: -1},
		"DataVersion": {noWALPeek: true},
	} {
		s := openTest(b, "", opts)
		keys := make([]state.Key, 64)
		for i := range keys {
			keys[i] = create(b, s, strings.Repeat("x", 2048))
		}
		for _, n := range []int{1, 64} {
			b.Run(name+"/"+callers(n), func(b *testing.B) {
				b.ReportAllocs()
				parallel(b, n, func(worker int) {
					if _, err := s.Get(b.Context(), keys[worker]); err != nil {
						b.Error(err)
					}
				})
			})
		}
	}
}

func callers(n int) string {
	if n == 1 {
		return "1"
	}
	return "64"
}

// BenchmarkUpdate compares updates of 64 callers that share commits with the
// same updates in a transaction each. Both take turns, so that the ratio is of
// one machine in one state.
func BenchmarkUpdate(b *testing.B) {
	grouped := openTest(b, "", Options{})
	single := openTest(b, "", Options{groupLimit: 1})
	var spent [2]time.Duration
	for b.Loop() {
		for i, s := range []*Store{grouped, single} {
			spent[i] += updateRound(b, s)
		}
	}
	const updates = 64 * updatesPerRound
	perSecond := func(d time.Duration) float64 { return float64(b.N) * updates / d.Seconds() }
	b.ReportMetric(perSecond(spent[0]), "grouped/s")
	b.ReportMetric(perSecond(spent[1]), "single/s")
	b.ReportMetric(float64(spent[1])/float64(spent[0]), "ratio")
}

const updatesPerRound = 8

func updateRound(b *testing.B, s *Store) time.Duration {
	var keys [64]state.Key
	for i := range keys {
		keys[i] = create(b, s, "")
	}
	data := valueData(strings.Repeat("x", 2048))
	start := time.Now()
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() {
			for v := range uint64(updatesPerRound) {
				_, err := state.Do(context.Background(), s, state.UpdateOp{Key: key, Version: v + 1, Data: data})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
