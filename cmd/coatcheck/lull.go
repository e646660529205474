package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// A lull is noticed when no request has come for a while. A server that closes
// idle connections while a balancer still uses them breaks requests that it has
// not seen: so one that drains waits until balancers have noticed.
type lull struct {
	arrived atomic.Int64 // requests
}

// count counts the requests that a handler gets.
func (l *lull) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.arrived.Add(1)
		h.ServeHTTP(w, r)
	})
}

// await returns when no request has come for a quarter of the time, when all of
// it has passed, or when ctx is done.
func (l *lull) await(ctx context.Context, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	ticker := time.NewTicker(max(most/100, time.Millisecond))
	defer ticker.Stop()
	since, seen := time.Now(), l.arrived.Load()
	for time.Since(since) < most/4 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := l.arrived.Load(); now != seen {
			since, seen = time.Now(), now
		}
	}
}
