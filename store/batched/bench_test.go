package batched_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"context"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
)

// oneByOne is a store that does one Apply at a time, each of which costs a
// commit: what a database without group commit does.
type oneByOne struct {
	state.Store
	mu     sync.Mutex
	commit time.Duration
}

func (o *oneByOne) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	o.mu.Lock()
	defer o.mu.Unlock()
	for start := time.Now(); time.Since(start) < o.commit; { // shorter than a timer can wait
	}
	return o.Store.Apply(ctx, ops...)
}

// BenchmarkApply takes turns between a bare store and the same with its writes
// collected, and reports the throughput of the one as a multiple of the
// other's (x-bare).
func BenchmarkApply(b *testing.B) {
	for name, inner := range map[string]func() state.Store{
		"commit=50us": func() state.Store { return &oneByOne{Store: openMemory(nil), commit: 50 * time.Microsecond} },
		"sqlite":      func() state.Store { return openFile(b, "", nil) },
	} {
		for _, writers := range []int{1, 256} {
			b.Run(fmt.Sprintf("%s/writers=%d", name, writers), func(b *testing.B) {
				bare := inner()
				defer bare.Close()
				s := open(b, inner(), batched.Options{})
				var ratios []float64
				b.ResetTimer()
				for range max(b.N/1000, 7) {
					each := max(200/writers, 4)
					one := touchAll(b, bare, writers, each)
					ratios = append(ratios, float64(one)/float64(touchAll(b, s, writers, each)))
				}
				slices.Sort(ratios)
				b.ReportMetric(ratios[len(ratios)/2], "x-bare")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// touchAll lets each writer touch its record so many times.
func touchAll(b *testing.B, s state.Store, writers, each int) time.Duration {
	keys := make([]state.Key, writers)
	for i := range keys {
		keys[i] = newKey(b)
		do(b, s, creation(keys[i]))
	}
	start := time.Now()
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() {
			for range each {
				if err := s.Apply(b.Context(), state.TouchOp{Key: key, Idle: time.Hour})[0].Err; err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
