package sqlite

import (
	"sync/atomic"
	"time"
)

// clockError bounds how far the monotonic clock may stray from true time while
// a day's deadline is pending: it is slewed by at most 500 parts in a million.
const clockError = 5 * time.Second

// A clock never runs backwards.
type clock struct {
	source func() time.Time
	latest atomic.Int64 // nanoseconds since 1970
}

// newClock returns a clock that follows source; nil stands for the wall clock
// as it is now, carried forward by the monotonic clock.
func newClock(source func() time.Time) *clock {
	if source != nil {
		return &clock{source: source}
	}
	opened := time.Now()
	wall := opened.Round(0)
	return &clock{source: func() time.Time { return wall.Add(time.Since(opened)) }}
}

func (c *clock) now() time.Time {
	t := c.source().UnixNano()
	for {
		last := c.latest.Load()
		if t <= last {
			return time.Unix(0, last).UTC()
		}
		if c.latest.CompareAndSwap(last, t) {
			return time.Unix(0, t).UTC()
		}
	}
}

// toMillis turns a time into what the database keeps.
func toMillis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
