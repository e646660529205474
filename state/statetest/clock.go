package statetest

import (
	"sync"
	"time"
)

// A Clock is a clock that stands still until it is moved. Its times have a
// fraction of a millisecond and are not in UTC, so that a store that forgets
// to cut or convert them is noticed. It may be used by many goroutines.
type Clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

// NewClock returns a clock that stands at a fixed moment of 2026.
func NewClock() *Clock {
	zone := time.FixedZone("statetest", 5*60*60+30*60)
	return &Clock{now: time.Date(2026, time.March, 1, 10, 20, 30, 123_456_789, zone)}
}

// Now returns the time at which the clock stands.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock forward by d; a negative d moves nothing, since no
// store's clock runs backwards.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(max(d, 0))
}

// AdvanceTo moves the clock forward to t, if t is later.
func (c *Clock) AdvanceTo(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.now) {
		c.now = t.In(c.now.Location())
	}
}
