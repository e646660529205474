package memory

import (
	"sync/atomic"
	"time"
)

// A clock tells the store's time. It never runs backwards, also between
// goroutines that synchronize: who reads it under a lock reads no earlier time
// than whoever held the lock before.
type clock struct {
	source func() time.Time // nil: the system's monotonic clock
	first  time.Time        // the first reading, with its monotonic part
	base   time.Time        // the same as UTC wall time
	last   atomic.Int64     // the greatest distance from first seen, with a source
}

func (c *clock) start(source func() time.Time) {
	c.source = source
	if source == nil {
		c.first = time.Now()
	} else {
		c.first = source()
	}
	c.base = c.first.Round(0).UTC()
}

func (c *clock) now() time.Time {
	if c.source == nil {
		return c.base.Add(time.Since(c.first))
	}
	d := int64(c.source().Sub(c.first))
	for {
		last := c.last.Load()
		if d <= last {
			return c.base.Add(time.Duration(last))
		}
		if c.last.CompareAndSwap(last, d) {
			return c.base.Add(time.Duration(d))
		}
	}
}
