package tiered

import (
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A timeline measures how old copies are and estimates the store's time.
//
// Its own time is in nanoseconds since the start, by the monotonic clock. A
// copy in a cache of this process carries the time at which its reading began,
// as its Remaining: the distance of its deadline from base plus that time. A
// copy in a shared cache carries the same by the store's clock.
type timeline struct {
	clock func() time.Time
	first time.Time
	base  int64 // of first, in Unix nanoseconds

	// offset is the store's time in Unix nanoseconds less the timeline's, at
	// most: by the last record that was read from it. Zero: none was.
	offset atomic.Int64
}

// An instant is a reading of the clock.
type instant struct {
	at   int64 // on the timeline
	wall int64 // in Unix nanoseconds: it goes on while the machine sleeps
}

// horizon bounds the lifetimes that are computed with. Records that live longer
// are not cached.
const horizon = 100 * 365 * 24 * time.Hour

func (t *timeline) start(clock func() time.Time) {
	t.clock, t.first = clock, clock()
	t.base = t.first.UnixNano()
}

func (t *timeline) now() instant {
	now := t.clock()
	return instant{at: int64(now.Sub(t.first)), wall: now.UnixNano()}
}

// A reading is a record as the store returned it, and when.
type reading struct {
	record *state.Record
	expiry int64 // by the store's clock, in Unix nanoseconds
	at     int64 // on the timeline: it was read then or later
	stored int64 // the same by the store's clock
}

// read takes note of a record that the store was asked for at began and has
// returned by now. It reports whether copies of it can be kept.
func (t *timeline) read(r *state.Record, began, now instant) (reading, bool) {
	if r.Remaining <= 0 || r.Remaining > horizon {
		return reading{}, false
	}
	expiry := expires(r)
	told := expiry - int64(r.Remaining)
	// The store's clock said told at began or later: so this is an upper
	// bound of its offset.
	t.offset.Store(told - began.at)
	return reading{record: r, expiry: expiry, at: began.at, stored: told - (now.at - began.at)}, true
}

func expires(r *state.Record) int64 { return r.Stamp.Expires().UnixNano() }

// kept returns the copy of what was read as a cache is to keep it.
func (t *timeline) kept(r reading, shared bool) state.Record {
	c := *r.record
	if shared {
		c.Remaining = time.Duration(r.expiry - r.stored)
	} else {
		c.Remaining = time.Duration(r.expiry - t.base - r.at)
	}
	return c
}

// found returns when a copy from a cache was read, and the store's time now,
// which is not earlier than it is in truth. It reports whether that is known.
func (t *timeline) found(c *state.Record, shared bool, now instant) (r reading, storeNow int64, ok bool) {
	offset := t.offset.Load()
	if offset == 0 {
		return reading{}, 0, false
	}
	storeNow = now.at + offset
	r = reading{record: c, expiry: expires(c)}
	if shared {
		if c.Remaining <= 0 {
			return reading{}, 0, false // it was lost on the way
		}
		r.stored = r.expiry - int64(c.Remaining)
		r.at = r.stored - offset
	} else {
		r.at = r.expiry - t.base - int64(c.Remaining)
		r.stored = r.at + offset
	}
	return r, storeNow, true
}
