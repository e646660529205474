package statetest

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func raceChecks() []check {
	return []check{
		{"CreateOfOneRefHasOneWinner", raceCreate, 0},
		{"CreateAndImportOfOneRefHaveOneWinner", raceImport, 0},
		{"UpdatesAreNeverLost", raceUpdates, 0},
		{"DeleteHasOneWinner", raceDelete, 0},
		{"EndingIsCountedOnce", raceEndings, 0},
		{"DeletedStaysGone", raceDeleted, 0},
		{"EvictedStaysGone", raceEvicted, 0},
		{"ExpiredStaysGone", raceExpired, 0},
		{"SweptStaysGone", raceSwept, 0},
		{"SetOwnerHasOneWinner", raceOwners, 0},
		{"FencedWriterStops", raceFenced, 0},
		{"RevisionNeverFalls", raceRevision, 0},
	}
}

func raceCreate(e *env) {
	for range e.rounds(15) {
		k := e.key()
		var won atomic.Int64
		var winner atomic.Int64
		e.parallel(16, func(i int) error {
			op := e.createOp(at(k), func(op *state.CreateOp) { op.Record.Data = data("v", strconv.Itoa(i)) })
			err := e.store.Apply(e.ctx, op)[0].Err
			if err == nil {
				won.Add(1)
				winner.Store(int64(i))
			}
			return among("create of one ref by many", err, state.ErrExists)
		})
		if n := won.Load(); n != 1 {
			e.Fatalf("sixteen Creates of one ref: %d succeeded, want 1", n)
		}
		e.settled(func() error {
			if d := diff2JSON(e.live(k).Data["v"], strconv.FormatInt(winner.Load(), 10)); d != "" {
				return fmt.Errorf("sixteen creates of one ref: what is stored is not the winner's: %s", d)
			}
			return nil
		})
	}
}

func raceImport(e *env) {
	for range e.rounds(15) {
		k := e.key()
		imp := e.exported()
		imp.Ref = k.Ref
		var won atomic.Int64
		var ended atomic.Int64
		e.parallel(12, func(i int) error {
			ops := []state.Op{e.createOp(at(k)), state.ImportOp{Record: imp}, state.DeleteOp{Key: k, Reason: state.ReasonLogout}}
			r := e.store.Apply(e.ctx, ops[i%3])[0]
			ended.Add(int64(len(r.Ended)))
			if i%3 < 2 && r.Err == nil {
				won.Add(1)
			}
			return among("create, import and delete of one ref", r.Err, state.ErrExists)
		})
		if n := won.Load(); n != 1 {
			e.Fatalf("Creates, Imports and Deletes of one ref: %d were inserted, want 1: what was deleted does not come back", n)
		}
		_, err := e.store.Get(e.ctx, k)
		if (err == nil) == (ended.Load() == 1) && e.g.Staleness == 0 {
			e.Fatalf("Creates, Imports and Deletes of one ref: %d ended, but Get says %v", ended.Load(), err)
		}
	}
}

// raceUpdates counts in a record from many goroutines, each reading, adding
// and swapping until it succeeds.
func raceUpdates(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Record.Data = data("n", "0") })
	const writers = 8
	each := e.rounds(30)
	e.parallel(writers, func(int) error {
		for range each {
			if err := e.increment(r.Key()); err != nil {
				return err
			}
		}
		return nil
	})
	e.settled(func() error {
		got := e.live(r.Key())
		if d := diff2JSON(got.Data["n"], strconv.Itoa(writers*each)); d != "" {
			return fmt.Errorf("%d increments by compare-and-swap: %s: updates were lost", writers*each, d)
		}
		if want := uint64(1 + writers*each); got.Version != want {
			return fmt.Errorf("%d increments by compare-and-swap: got version %d, want %d", writers*each, got.Version, want)
		}
		return nil
	})
}

func (e *env) increment(k state.Key) error {
	for start := time.Now(); time.Since(start) < e.h.within(); {
		r, err := e.store.Get(e.ctx, k)
		if err != nil {
			return fmt.Errorf("get: %w", err)
		}
		n, err := strconv.Atoi(string(r.Data["n"]))
		if err != nil {
			return fmt.Errorf("the value is no longer a number: %w", err)
		}
		runtime.Gosched() // so that others read it too
		err = e.store.Apply(e.ctx, state.UpdateOp{Key: k, Version: r.Version, Data: data("n", strconv.Itoa(n+1))})[0].Err
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("an update still conflicts after %v", e.h.within())
}

func raceDelete(e *env) {
	for range e.rounds(15) {
		r := e.create()
		var ended atomic.Int64
		e.parallel(12, func(i int) error {
			res := e.store.Apply(e.ctx, state.DeleteOp{Key: r.Key(), Reason: state.ReasonRevoked, By: strconv.Itoa(i)})[0]
			ended.Add(int64(len(res.Ended)))
			if len(res.Ended) == 1 && res.Ended[0].By != strconv.Itoa(i) {
				return errors.New("delete returned the end that another delete made")
			}
			return res.Err
		})
		if n := ended.Load(); n != 1 {
			e.Fatalf("twelve Deletes of one record: %d say that they ended it, want 1", n)
		}
	}
}

// raceEndings lets deletes, evictions and sweeps meet, and counts.
func raceEndings(e *env) {
	var mu sync.Mutex
	endings := map[state.Ref]int{}
	count := func(ends []state.End) {
		mu.Lock()
		defer mu.Unlock()
		for _, end := range ends {
			endings[end.Key.Ref]++
		}
	}
	var made []state.Key
	for range e.rounds(6) {
		var keys []state.Key
		for range 12 {
			op := e.createOp(user("u"), e.brief, lean)
			keys = append(keys, op.Target())
			e.must(op)
		}
		made = append(made, keys...)
		expire := sync.OnceFunc(func() {
			if e.clock != nil {
				e.clock.Advance(e.life())
			}
		})
		e.parallel(9, func(i int) error {
			switch i % 3 {
			case 0:
				for _, k := range keys[:4] { // some are left to the others
					r := e.store.Apply(e.ctx, state.DeleteOp{Key: k, Reason: state.ReasonLogout})[0]
					count(r.Ended)
					if r.Err != nil {
						return r.Err
					}
				}
			case 1:
				r := e.store.Apply(e.ctx, e.createOp(user("u"), lean, limit(state.Limit{PerUser: 9})))[0]
				count(r.Ended)
				expire()
				return r.Err
			case 2:
				for range 3 {
					ends, err := e.store.Sweep(e.ctx, state.SweepOptions{Namespace: e.ns, Max: 3})
					count(ends)
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	e.expire(e.life())
	count(e.sweepAll(state.SweepOptions{Namespace: e.ns}))
	for _, k := range made {
		if n := endings[k.Ref]; n != 1 {
			e.Fatalf("deletes, evictions and sweeps at once: a record was ended %d times, want once", n)
		}
	}
}

// resurrect writes to a record from many goroutines, as requests in flight do,
// while end ends it. Whatever was begun after end has returned must fail, and
// nothing may bring the record back.
func (e *env) resurrect(k state.Key, end func(), ops func(version uint64) []state.Op) {
	e.Helper()
	const writers = 6
	var over atomic.Bool
	var begun sync.WaitGroup
	begun.Add(writers)
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			once := sync.OnceFunc(begun.Done)
			defer once()
			var version uint64 = 1
			for n, late := 0, false; !late; n++ {
				late = over.Load()
				if r, err := e.store.Get(e.ctx, k); err == nil {
					version = r.Version // and an update with it is now in flight
					if late && e.g.Staleness == 0 {
						errs[i] = errors.New("get after the end of the record found it")
						return
					}
				}
				all := ops(version)
				op := all[(n+i)%len(all)]
				err := e.store.Apply(e.ctx, op)[0].Err
				if late && !errors.Is(err, state.ErrNotFound) {
					errs[i] = fmt.Errorf("%T begun after the end of the record: got error %v, want not found", op, err)
					return
				}
				if errs[i] = among(fmt.Sprintf("%T while the record ends", op), err, state.ErrNotFound, state.ErrConflict, state.ErrFenced); errs[i] != nil {
					return
				}
				if n == 2 {
					once()
				}
			}
		})
	}
	begun.Wait()
	end()
	over.Store(true)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		e.Fatal(err)
	}
	e.staysGone(k, 1, "")
}

func raceDeleted(e *env) {
	for range e.rounds(12) {
		r := e.create(lean)
		e.resurrect(r.Key(), func() { e.delete(r.Key()) }, func(v uint64) []state.Op { return everyOp(r.Key(), v) })
	}
}

func raceEvicted(e *env) {
	for range e.rounds(12) {
		name := "u-" + newNamespace()
		r := e.create(lean, user(name))
		evict := func() { e.must(e.createOp(lean, user(name), limit(state.Limit{PerUser: 1}))) }
		e.resurrect(r.Key(), evict, func(v uint64) []state.Op { return everyOp(r.Key(), v) })
	}
}

// withinLife are the operations that do not prolong a life: at the absolute
// deadline they are of no avail.
func withinLife(k state.Key) func(uint64) []state.Op {
	return func(v uint64) []state.Op {
		return []state.Op{
			state.UpdateOp{Key: k, Version: v, Data: data("v", `1`)},
			state.TouchOp{Key: k, Idle: longLife},
			state.SetOwnerOp{Key: k, Owner: "one"},
		}
	}
}

func raceExpired(e *env) {
	for range e.rounds(6) {
		op := e.createOp(lean, e.brief)
		e.must(op)
		e.resurrect(op.Target(), func() { e.expire(e.life()) }, withinLife(op.Target()))
	}
}

func raceSwept(e *env) {
	for range e.rounds(6) {
		op := e.createOp(lean, e.brief)
		e.must(op)
		swept := 0
		e.resurrect(op.Target(), func() {
			e.expire(e.life())
			swept = len(e.sweepAll(state.SweepOptions{Namespace: e.ns}))
		}, withinLife(op.Target()))
		if swept += len(e.sweepAll(state.SweepOptions{Namespace: e.ns})); swept != 1 {
			e.Fatalf("sweeps of one expired record while others write to it: got %d ends, want 1", swept)
		}
	}
}

// raceOwners lets many claim a record at each epoch.
func raceOwners(e *env) {
	r := e.create()
	for epoch := range uint64(e.rounds(12)) {
		var won atomic.Int64
		winner := make([]string, 12)
		e.parallel(len(winner), func(i int) error {
			name := fmt.Sprintf("replica-%d", i)
			res := e.store.Apply(e.ctx, state.SetOwnerOp{Key: r.Key(), Epoch: epoch, Owner: name})[0]
			if res.Err == nil {
				won.Add(1)
				winner[i] = name
			}
			return among("twelve claims", res.Err, state.ErrFenced)
		})
		if n := won.Load(); n != 1 {
			e.Fatalf("twelve SetOwners at epoch %d: %d succeeded, want 1", epoch, n)
		}
		e.settled(func() error {
			got := e.live(r.Key())
			if got.Epoch != epoch+1 || winner[ownerIndex(got.Owner)] != got.Owner {
				return fmt.Errorf("twelve SetOwners at epoch %d: got epoch %d and an owner who was told that he lost", epoch, got.Epoch)
			}
			return nil
		})
	}
}

func ownerIndex(name string) (i int) {
	if _, err := fmt.Sscanf(name, "replica-%d", &i); err != nil {
		return 0
	}
	return i
}

// raceFenced lets an owner write while another takes over. From the moment at
// which the takeover is acknowledged none of the old owner's writes succeeds,
// and the new one sees the last that did.
func raceFenced(e *env) {
	for range e.rounds(10) {
		r := e.create(lean)
		e.must(state.SetOwnerOp{Key: r.Key(), Owner: "old"})
		var over atomic.Bool
		var last atomic.Uint64 // the old owner's last acknowledged version
		last.Store(1)
		e.parallel(2, func(i int) error {
			if i == 1 {
				for last.Load() < 4 && e.ctx.Err() == nil { // until the old owner is at it
					e.pause(100 * time.Microsecond)
				}
				err := e.store.Apply(e.ctx, state.SetOwnerOp{Key: r.Key(), Epoch: 1, Owner: "new"})[0].Err
				over.Store(true)
				return err
			}
			for {
				late := over.Load()
				res := e.store.Apply(e.ctx, state.UpdateOp{Key: r.Key(), Version: last.Load(), Epoch: 1, Data: data("v", `1`)})[0]
				if errors.Is(res.Err, state.ErrFenced) {
					last.Store(max(last.Load(), 4))
					return nil
				}
				if res.Err != nil || late {
					last.Store(max(last.Load(), 4))
					return fmt.Errorf("the old owner's update, begun after the takeover: %v: got error %v, want fenced", late, res.Err)
				}
				last.Store(res.Stamp.Version)
			}
		})
		e.settled(func() error {
			if got := e.live(r.Key()); got.Version != last.Load() || got.Owner != "new" || got.Epoch != 2 {
				return fmt.Errorf("after a takeover: got version %d, owner %q and epoch %d, want %d, new and 2", got.Version, got.Owner, got.Epoch, last.Load())
			}
			return nil
		})
	}
}

// raceRevision reads a record while others write to it, until the readers have
// read enough.
func raceRevision(e *env) {
	r := e.create(lean)
	const readers = 3
	reads := e.rounds(200)
	var reading atomic.Int64
	reading.Store(readers)
	var version atomic.Uint64
	version.Store(1)
	e.parallel(2*readers, func(i int) error {
		if i < readers {
			defer reading.Add(-1)
			return e.readRising(r.Key(), reads)
		}
		for n := 0; reading.Load() > 0; n++ {
			res := e.store.Apply(e.ctx, everyOp(r.Key(), version.Load())[n%3])[0]
			if err := among("write", res.Err, state.ErrConflict); err != nil {
				return err
			}
			if res.Err == nil {
				version.Store(res.Stamp.Version)
			}
		}
		return nil
	})
}

// readRising reads a record n times and fails when it seems to become older.
func (e *env) readRising(k state.Key, n int) error {
	var revision, version uint64
	for range n {
		got, err := e.store.Get(e.ctx, k)
		if err != nil {
			return fmt.Errorf("get: %w", err)
		}
		if e.g.Staleness == 0 && (got.Revision < revision || got.Version < version) {
			return fmt.Errorf("a reader saw revision %d and version %d after %d and %d", got.Revision, got.Version, revision, version)
		}
		revision, version = got.Revision, got.Version
	}
	return nil
}
