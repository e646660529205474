package testkit

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// Patience is how long a test waits for what has to happen, on a machine that
// may be busy. Nothing is measured by it.
const Patience = 60 * time.Second

// Within returns a context with so much time.
func Within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Eventually ends the test unless cond returns nil in time.
func Eventually(t testing.TB, what string, cond func() error) {
	t.Helper()
	var err error
	for start := time.Now(); time.Since(start) < Patience; time.Sleep(10 * time.Millisecond) {
		if err = cond(); err == nil {
			return
		}
	}
	t.Fatalf("%s: after %v still: %v", what, Patience, err)
}

// Await ends the test unless the counter reaches n in time.
func Await(t testing.TB, what string, counter *atomic.Int64, n int64) {
	t.Helper()
	for start := time.Now(); counter.Load() < n; time.Sleep(time.Millisecond) {
		if time.Since(start) > Patience {
			t.Fatalf("%s: %d of %d after %v", what, counter.Load(), n, Patience)
		}
	}
}
