package statetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// reopenChecks use the store through two handles, as two processes would.
func reopenChecks() []check {
	return []check{
		{"SeesTheOthersWrites", reopenSees, secondOpen},
		{"SeesTheOthersEndings", reopenEndings, secondOpen},
		{"WatchesTheOthersChanges", reopenWatch, secondOpen},
		{"UpdatesAreNeverLost", reopenUpdates, secondOpen},
		{"LimitIsExact", reopenLimit, secondOpen},
		{"SetOwnerHasOneWinner", reopenOwners, secondOpen},
		{"SweepsEachExpiredOnce", reopenSweep, secondOpen},
		{"IsLinearizable", reopenHistory, secondOpen},
		{"OutlivesTheOther", reopenOutlives, secondOpen | freshStore},
	}
}

// other returns the environment on a second handle.
func (e *env) other() *env {
	e.Helper()
	o := e.on(e.h.Reopen(e.TB, e.store))
	if o.store == nil || o.store == e.store {
		e.Fatal("Harness.Reopen returned no second handle")
	}
	return o
}

func reopenSees(e *env) {
	o := e.other()
	r := e.create()
	if d := diff(o.live(r.Key()), r); d != "" {
		e.Fatalf("Get through the other handle: %s", d)
	}
	for range 5 { // to and fro, so that what one remembers is old
		o.note(r.Key(), e.update(e.live(r.Key()), `1`))
		r = o.live(r.Key())
		e.note(r.Key(), o.update(r, `2`))
		if got := e.live(r.Key()); got.Version != r.Version+1 {
			e.Fatalf("Get after an Update through the other handle: got version %d, want %d", got.Version, r.Version+1)
		}
	}
	e.settled(func() error {
		if n := len(o.list(state.Query{Namespace: e.ns})); n != 1 {
			return fmt.Errorf("list through the other handle: got %d records, want 1", n)
		}
		return nil
	})
	e.fails(e.createOp(at(r.Key())), state.ErrExists)
	o.fails(o.createOp(at(r.Key())), state.ErrExists)
}

// reopenEndings checks that an operator's process ends what a server holds.
func reopenEndings(e *env) {
	o := e.other()
	for range 10 {
		r := e.create(user("u"))
		e.live(r.Key()) // and again, in case that is what it takes to be cached
		end := o.must(state.DeleteOp{Key: r.Key(), Reason: state.ReasonRevoked, By: "operator"}).Ended[0]
		if d := diffEnd(e.ended(r.Key()), end); d != "" {
			e.Fatalf("Get of what the other handle deleted: %s", d)
		}
		e.staysGone(r.Key(), 1, state.ReasonRevoked)
		s := e.create(user("v"))
		o.must(o.createOp(user("v"), limit(state.Limit{PerUser: 1})))
		e.staysGone(s.Key(), 1, state.ReasonEvicted)
	}
}

// reopenWatch checks that a change by the other is reported, or a Gap.
func reopenWatch(e *env) {
	o := e.other()
	for range 5 {
		w := e.watch()
		want := []state.Change{o.marker(), e.marker(), o.marker()}
		got, gap := w.collect(len(want))
		w.stop()
		if !gap {
			e.compareChanges(got, want)
		}
	}
}

func reopenUpdates(e *env) {
	o := e.other()
	r := e.create(func(op *state.CreateOp) { op.Record.Data = data("n", "0") })
	handles := []*env{e, o}
	each := e.rounds(20)
	e.parallel(6, func(i int) error {
		for range each {
			if err := handles[i%2].increment(r.Key()); err != nil {
				return err
			}
		}
		return nil
	})
	want := strconv.Itoa(6 * each)
	e.settled(func() error {
		if d := diff2JSON(e.live(r.Key()).Data["n"], want); d != "" {
			return fmt.Errorf("increments through two handles: %s: updates were lost", d)
		}
		return nil
	})
}

func reopenLimit(e *env) {
	o := e.other()
	handles := []*env{e, o}
	var mu sync.Mutex
	evicted := map[state.Ref]int{}
	e.parallel(limitRacers, func(i int) error {
		r := handles[i%2].store.Apply(e.ctx, e.createOp(lean, user("u"), limit(state.Limit{PerUser: 5})))[0]
		mu.Lock()
		defer mu.Unlock()
		for _, ref := range endRefs(r.Ended) {
			evicted[ref]++
		}
		return r.Err
	})
	e.settled(func() error {
		if n := e.liveOf("u"); n != 5 || len(evicted) != limitRacers-5 {
			return fmt.Errorf("creates through two handles with a limit of 5: %d are live and %d were evicted", n, len(evicted))
		}
		return nil
	})
	for ref, n := range evicted {
		if n != 1 {
			e.Fatalf("Creates through two handles: %v was evicted %d times", ref, n)
		}
	}
}

func reopenOwners(e *env) {
	handles := []*env{e, e.other()}
	r := e.create()
	for epoch := range uint64(e.rounds(8)) {
		var won atomic.Int64
		e.parallel(8, func(i int) error {
			op := state.SetOwnerOp{Key: r.Key(), Epoch: epoch, Owner: strconv.Itoa(i)}
			err := handles[i%2].store.Apply(e.ctx, op)[0].Err
			if err == nil {
				won.Add(1)
			}
			return among("claim", err, state.ErrFenced)
		})
		if n := won.Load(); n != 1 {
			e.Fatalf("SetOwners at epoch %d through two handles: %d succeeded, want 1", epoch, n)
		}
	}
}

func reopenSweep(e *env) {
	handles := []*env{e, e.other()}
	made := e.createExpired(60)
	var mu sync.Mutex
	seen := map[state.Ref]int{}
	e.parallel(6, func(i int) error {
		for quiet := 0; quiet < 3; {
			ends, err := handles[i%2].store.Sweep(e.ctx, state.SweepOptions{Namespace: e.ns, Max: 7})
			if err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			if len(ends) == 0 {
				quiet++
			}
			mu.Lock()
			for _, ref := range endRefs(ends) {
				seen[ref]++
			}
			mu.Unlock()
		}
		return nil
	})
	for _, ref := range endRefs(e.sweepAll(state.SweepOptions{Namespace: e.ns})) {
		seen[ref]++
	}
	for ref := range made {
		if seen[ref] != 1 {
			e.Fatalf("sweeps through two handles: %v was returned %d times, want exactly once", ref, seen[ref])
		}
	}
}

func reopenHistory(e *env) {
	o := e.other()
	for round := range e.rounds(5) {
		h := e.newHistory(longLife, round)
		h.stores = []state.Store{e.store, o.store}
		h.run()
	}
}

func reopenOutlives(e *env) {
	o := e.other()
	r := e.create()
	w := o.watch()
	defer w.stop()
	e.close()
	if _, err := e.store.Get(e.ctx, r.Key()); !errors.Is(err, state.ErrClosed) {
		e.Fatalf("Get on the handle that was closed: got %v, want %v", err, state.ErrClosed)
	}
	if d := diff(o.live(r.Key()), r); d != "" {
		e.Fatalf("Get through the other handle after the first was closed: %s", d)
	}
	want := o.marker()
	got, gap := w.collect(1)
	if !gap {
		e.compareChanges(got, []state.Change{want})
	}
}
