package statetest

import (
	"errors"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// pass returns when d has passed by the store's clock: at once if that can be
// moved. Otherwise the store is asked: a probe that lives for d is created, and
// pass returns when it has expired.
func (e *env) pass(d time.Duration) {
	e.Helper()
	if e.clock != nil {
		e.clock.Advance(d)
		return
	}
	probe := e.createOp(func(op *state.CreateOp) {
		op.Record.Namespace += "-probe" // so that nothing lists or sweeps it
		op.Idle = d + 2*e.g.ClockError + 2*state.Precision
		op.Lifetime = op.Idle
	})
	e.must(probe)
	for start := time.Now(); ; e.pause(5 * time.Millisecond) {
		_, err := e.store.Get(e.ctx, probe.Target())
		if errors.Is(err, state.ErrNotFound) {
			return
		}
		if err != nil {
			e.Fatalf("Get of a probe: %v", err)
		}
		if time.Since(start) > d+e.g.Staleness+e.h.within() {
			e.Fatalf("a record with a lifetime of %v is still there after %v", probe.Idle, time.Since(start))
		}
	}
}

// expire lets a lifetime of d pass, so that what was given it before the call
// has expired.
func (e *env) expire(d time.Duration) {
	e.Helper()
	e.pass(d)
}

// now is the store's time as records keep it; only with a manual clock.
func (e *env) now() time.Time { return state.Cut(e.clock.Now()) }

// A storeClock tells between which times the store's clock must be.
type storeClock struct {
	manual *Clock
	// Without a manual clock: the store said `said` at some moment between
	// asked and told, by this process's monotonic clock.
	said        time.Time
	asked, told time.Time
}

// readClock asks the store for its time by creating records, and keeps the
// answer that came quickest.
func (e *env) readClock() storeClock {
	e.Helper()
	if e.clock != nil {
		return storeClock{manual: e.clock}
	}
	var best storeClock
	for range 5 {
		probe := e.createOp(lean)
		probe.Record.Namespace += "-probe"
		c := storeClock{asked: time.Now()}
		c.said = e.must(probe).Stamp.Created
		c.told = time.Now()
		if best.asked.IsZero() || c.told.Sub(c.asked) < best.told.Sub(best.asked) {
			best = c
		}
	}
	return best
}

// earliest is a time that the store's clock has reached.
func (c storeClock) earliest() time.Time {
	if c.manual != nil {
		return c.manual.Now()
	}
	return c.said.Add(time.Since(c.told))
}

// latest is a time that the store's clock has not passed.
func (c storeClock) latest() time.Time {
	if c.manual != nil {
		return c.manual.Now()
	}
	return c.said.Add(time.Since(c.asked) + state.Precision)
}
