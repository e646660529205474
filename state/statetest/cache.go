package statetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// RunCache checks the contract of [state.Cache]. open returns a new, empty
// cache and registers its Close with t.Cleanup.
func RunCache(t *testing.T, open func(t testing.TB) state.Cache) {
	t.Helper()
	for _, c := range cacheChecks() {
		t.Run(c.name, func(t *testing.T) { c.run(newCacheEnv(t, open)) })
	}
}

// A cacheCheck is one named behaviour of a cache.
type cacheCheck struct {
	name string
	run  func(c *cacheEnv)
}

func cacheChecks() []cacheCheck {
	return []cacheCheck{
		{"MissesWhatItWasNotGiven", cacheMisses},
		{"ReturnsWhatItWasGiven", cacheReturns},
		{"CopiesBelongToTheCaller", cacheCopies},
		{"DoesNotLookAtDeadlines", cacheExpired},
		{"SeparatesKeys", cacheKeys},
		{"KeepsTheNewer", cacheNewer},
		{"KeepsRemaining", cacheRemaining},
		{"InvalidateDropsTheOlder", cacheInvalidates},
		{"InvalidateRefusesLateFills", cacheRefusesLate},
		{"InvalidateKeepsTheNewer", cacheKeepsNewer},
		{"EndedRefusesAll", cacheEnded},
		{"ClearDropsEverything", cacheClears},
		{"ClearRefusesFillsFromBefore", cacheClearRefuses},
		{"ClearRaisesTheGeneration", cacheGeneration},
		{"EveryOrderOfFillAndInvalidate", cacheOrders},
		{"EveryOrderWithClear", cacheOrdersWithClear},
		{"FillsRaceInvalidates", cacheRace},
		{"FillsRaceClears", cacheClearRace},
		{"RemembersUnderPressure", cachePressure},
	}
}

// A cacheEnv is what a check of a cache works with.
type cacheEnv struct {
	*env  // for its records; it has no store
	cache state.Cache
}

func newCacheEnv(t testing.TB, open func(t testing.TB) state.Cache) *cacheEnv {
	clock := NewClock()
	e := newEnv(t.Context(), t, Harness{}, opened{clock: clock}, state.Guarantees{})
	return &cacheEnv{env: e, cache: open(t)}
}

// copyOf returns a record as a store returns it, of the revision given.
func (c *cacheEnv) copyOf(k state.Key, revision uint64) state.Record {
	op := c.createOp(at(k))
	r := op.Record
	r.Stamp = op.Stamp(c.clock.Now())
	r.Version, r.Revision = revision, revision
	r.LastOp = op.ID
	r.Data = data("revision", fmt.Sprint(revision))
	return r
}

func (c *cacheEnv) generation() uint64 {
	c.Helper()
	g, err := c.cache.Generation(c.ctx)
	if err != nil {
		c.Fatalf("Generation: %v", err)
	}
	return g
}

// fill offers a copy that was read just now.
func (c *cacheEnv) fill(r state.Record) {
	c.Helper()
	c.fillFrom(r, c.generation())
}

func (c *cacheEnv) fillFrom(r state.Record, generation uint64) {
	c.Helper()
	if err := c.cache.Fill(c.ctx, r, generation); err != nil {
		c.Fatalf("Fill: %v", err)
	}
}

func (c *cacheEnv) invalidate(k state.Key, revision uint64) {
	c.Helper()
	if err := c.cache.Invalidate(c.ctx, k, revision); err != nil {
		c.Fatalf("Invalidate: %v", err)
	}
}

func (c *cacheEnv) clear() {
	c.Helper()
	if err := c.cache.Clear(c.ctx); err != nil {
		c.Fatalf("Clear: %v", err)
	}
}

func (c *cacheEnv) lookUp(k state.Key) (state.Record, bool) {
	c.Helper()
	r, ok, err := c.cache.Get(c.ctx, k)
	if err != nil {
		c.Fatalf("Get: %v", err)
	}
	return r, ok
}

func (c *cacheEnv) misses(k state.Key, when string) {
	c.Helper()
	if r, ok := c.lookUp(k); ok {
		c.Fatalf("Get %s: got a copy of revision %d, want none", when, r.Revision)
	}
}

// hits returns how many of the tries end with a copy. A cache may forget at
// any time, so that a single miss says nothing; but one that never hits fails.
func (c *cacheEnv) hits(try func(k state.Key)) {
	c.Helper()
	const tries = 50
	n := 0
	for range tries {
		k := c.key()
		try(k)
		if _, ok := c.lookUp(k); ok {
			n++
		}
	}
	if n == 0 {
		c.Fatalf("Get of %d copies that should be there: not one is", tries)
	}
}

func cacheMisses(c *cacheEnv) {
	for range 20 {
		c.misses(c.key(), "of what was never filled")
	}
}

func cacheReturns(c *cacheEnv) {
	c.hits(func(k state.Key) {
		want := c.copyOf(k, 3)
		want.User, want.Owner, want.Epoch = "\x00\xff'%", "one", 2
		want.Secret.Previous, want.Secret.PreviousUntil = newHash(), want.IdleDeadline
		c.fill(want)
		if got, ok := c.lookUp(k); ok {
			if d := diff(got, want); d != "" {
				c.Fatalf("Get after Fill: %s", d)
			}
			if got.Data == nil {
				c.Fatal("Get after Fill: Data is nil")
			}
		}
	})
}

func cacheCopies(c *cacheEnv) {
	k := c.key()
	r := c.copyOf(k, 1)
	want := r.Clone()
	c.fill(r)
	r.Data["mine"] = r.Data["revision"]
	for range 2 {
		got, ok := c.lookUp(k)
		if !ok {
			continue
		}
		if d := diff(got, want); d != "" {
			c.Fatalf("the copy changed with the map that was given or returned: %s", d)
		}
		delete(got.Data, "revision")
	}
}

func cacheExpired(c *cacheEnv) {
	c.hits(func(k state.Key) {
		r := c.copyOf(k, 1)
		r.IdleDeadline = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
		c.fill(r)
	})
}

func cacheKeys(c *cacheEnv) {
	one, two := c.key(), c.key()
	elsewhere := state.Key{Namespace: c.ns + "-x", Ref: one.Ref}
	c.fill(c.copyOf(one, 1))
	c.misses(two, "of another ref")
	c.misses(elsewhere, "of another namespace")
	c.fill(c.copyOf(elsewhere, 8))
	c.invalidate(elsewhere, state.Ended)
	if r, ok := c.lookUp(one); ok && (r.Key() != one || r.Revision != 1) {
		c.Fatalf("Get: got %v of revision %d, want %v of revision 1", r.Key(), r.Revision, one)
	}
}

func cacheNewer(c *cacheEnv) {
	for range 20 {
		k := c.key()
		c.fill(c.copyOf(k, 5))
		if _, ok := c.lookUp(k); !ok {
			continue // it may forget; then it knows of no newer one
		}
		c.fill(c.copyOf(k, 4))
		if r, ok := c.lookUp(k); ok && r.Revision != 5 {
			c.Fatalf("Fill with an older copy: Get returns revision %d, want 5", r.Revision)
		}
		c.fill(c.copyOf(k, 6))
		if r, ok := c.lookUp(k); ok && r.Revision != 6 {
			c.Fatalf("Fill with a newer copy: Get returns revision %d, want 6 or nothing", r.Revision)
		}
	}
}

// cacheRemaining checks that Remaining is kept, and that a copy of the same
// revision that was read later takes the place of the one that is there.
func cacheRemaining(c *cacheEnv) {
	for _, remaining := range []time.Duration{time.Hour, 59*time.Minute + 123_456_789, -time.Minute} {
		c.hits(func(k state.Key) {
			r := c.copyOf(k, 5)
			c.fill(r)
			r.Remaining = remaining
			c.fill(r)
			if got, ok := c.lookUp(k); ok && (got.Remaining-remaining).Abs() > state.Precision {
				c.Fatalf("Get after two Fills of one revision: Remaining is %v, want %v as in the second", got.Remaining, remaining)
			}
		})
	}
}

func cacheInvalidates(c *cacheEnv) {
	for range 20 {
		k := c.key()
		c.fill(c.copyOf(k, 2))
		c.invalidate(k, 3)
		c.misses(k, "after an Invalidate of what was there")
	}
}

func cacheRefusesLate(c *cacheEnv) {
	for range 20 {
		k := c.key()
		generation := c.generation() // a reader asks the store
		late := c.copyOf(k, 2)
		c.invalidate(k, 3) // meanwhile the record changes
		c.fillFrom(late, generation)
		c.misses(k, "after a Fill with what was read before the Invalidate")
		c.fill(late)
		c.misses(k, "after a Fill with an older revision than was invalidated")
	}
	c.hits(func(k state.Key) {
		c.invalidate(k, 3)
		c.fill(c.copyOf(k, 3))
	})
}

func cacheKeepsNewer(c *cacheEnv) {
	c.hits(func(k state.Key) {
		c.fill(c.copyOf(k, 5))
		c.invalidate(k, 4) // an old message, come late
		c.invalidate(k, 5)
	})
}

func cacheEnded(c *cacheEnv) {
	for range 20 {
		k := c.key()
		generation := c.generation()
		c.fill(c.copyOf(k, 2))
		c.invalidate(k, state.Ended)
		c.misses(k, "after the record ended")
		c.fillFrom(c.copyOf(k, 1<<40), generation)
		c.misses(k, "after a late Fill of a record that ended")
		c.invalidate(k, 3)
		c.fill(c.copyOf(k, 9))
		c.misses(k, "after a Fill of a record that ended")
	}
}

func cacheClears(c *cacheEnv) {
	var keys []state.Key
	for range 50 {
		k := c.key()
		keys = append(keys, k)
		c.fill(c.copyOf(k, 1))
	}
	c.clear()
	for _, k := range keys {
		c.misses(k, "after Clear")
	}
	c.hits(func(k state.Key) { c.fill(c.copyOf(k, 1)) })
}

func cacheClearRefuses(c *cacheEnv) {
	for range 20 {
		k := c.key()
		generation := c.generation()
		c.clear()
		c.fillFrom(c.copyOf(k, 7), generation)
		c.misses(k, "after a Fill with what was read before a Clear")
	}
}

func cacheGeneration(c *cacheEnv) {
	for range 5 {
		before := c.generation()
		c.clear()
		if after := c.generation(); after <= before {
			c.Fatalf("Clear: the generation went from %d to %d, want it to rise", before, after)
		}
	}
}

// cacheRace lets readers fill while a writer changes and invalidates: nobody
// gets a revision older than one whose Invalidate had returned before.
func cacheRace(c *cacheEnv) {
	for range c.rounds(6) {
		k := c.key()
		c.raceReaders(k, func(revision uint64) error { return c.cache.Invalidate(c.ctx, k, revision) })
	}
}

// cacheClearRace changes the record without an Invalidate, as when a watch had
// a gap, and clears.
func cacheClearRace(c *cacheEnv) {
	for range c.rounds(6) {
		c.raceReaders(c.key(), func(uint64) error { return c.cache.Clear(c.ctx) })
	}
}

// raceReaders lets a writer change the record again and again, until readers
// have read it often enough meanwhile. After void has returned nobody may get
// what was before.
func (c *cacheEnv) raceReaders(k state.Key, void func(revision uint64) error) {
	c.Helper()
	const readers = 4
	var stored, floor atomic.Uint64 // what the store has; what was made void
	stored.Store(1)
	var reading atomic.Int64
	reading.Store(readers)
	c.parallel(readers+1, func(i int) error {
		if i < readers {
			defer reading.Add(-1)
			for range c.rounds(250) {
				if err := c.readThrough(k, &stored, &floor); err != nil {
					return err
				}
			}
			return nil
		}
		for reading.Load() > 0 {
			revision := stored.Add(1)
			if err := void(revision); err != nil {
				return err
			}
			floor.Store(revision)
			for range 4 {
				runtime.Gosched() // so that they read this one, too
			}
		}
		return nil
	})
}

// readThrough reads as a tiered store does: from the cache, else from the
// store with a Fill.
func (c *cacheEnv) readThrough(k state.Key, stored, floor *atomic.Uint64) error {
	least := floor.Load()
	r, ok, err := c.cache.Get(c.ctx, k)
	switch {
	case err != nil:
		return fmt.Errorf("get: %w", err)
	case ok && r.Revision < least:
		return fmt.Errorf("get returned revision %d after all before %d was made void", r.Revision, least)
	case ok && rand.IntN(4) > 0:
		return nil
	}
	generation, err := c.cache.Generation(c.ctx)
	if err != nil {
		return fmt.Errorf("generation: %w", err)
	}
	r = c.copyOf(k, stored.Load())
	runtime.Gosched() // so that it changes meanwhile
	return c.cache.Fill(c.ctx, r, generation)
}

// cachePressure fills more than a cache may hold, and checks that what it had
// to forget of the invalidated does not come back.
func cachePressure(c *cacheEnv) {
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	type late struct {
		r          state.Record
		generation uint64
	}
	var inFlight []late
	n := 3000
	if testing.Short() {
		n = 500
	}
	for range n {
		r := c.copyOf(c.key(), 4)
		generation, err := c.cache.Generation(ctx)
		if err != nil {
			c.Fatal(err)
		}
		inFlight = append(inFlight, late{r, generation})
		if err := c.cache.Invalidate(ctx, r.Key(), state.Ended); err != nil {
			c.Fatalf("Invalidate: %v", err)
		}
	}
	for _, l := range inFlight {
		c.fillFrom(l.r, l.generation)
		c.misses(l.r.Key(), "after a Fill that was in flight while its record ended, and thousands of others")
	}
}
