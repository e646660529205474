package session

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// updateAttempts bounds how often an update function runs.
	updateAttempts = 64
	// outcomeAttempts bounds how often the store is asked about a write whose
	// answer was lost.
	outcomeAttempts = 4

	firstPause = time.Millisecond
	longPause  = 50 * time.Millisecond
)

// pause waits before another attempt: a random time, so that those who
// collided do not collide again, the longer the more attempts there were. It
// returns the context's error if that ends first.
func pause(ctx context.Context, attempt int) error {
	limit := min(longPause, firstPause<<min(attempt, 10))
	t := time.NewTimer(rand.N(limit))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
