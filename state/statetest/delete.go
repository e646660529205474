package statetest

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func deleteChecks() []check {
	return []check{
		{"EndsARecord", deleteEnds, 0},
		{"SaysWhatItEnded", deleteSays, 0},
		{"IsRemembered", deleteRemembered, 0},
		{"IsIdempotent", deleteIdempotent, 0},
		{"OfMissingSucceeds", deleteMissing, 0},
		{"OfExpiredEndsNothing", deleteExpired, 0},
		{"RefusesStaleEpoch", deleteFenced, 0},
		{"LeavesATombstoneForADay", deleteTombstone, manualClock},
		{"TombstoneStandsUntilASweep", deleteStands, manualClock},
		{"IsForgottenBySweepAfterADay", deleteForgotten, manualClock},
		{"AllowsOtherReasons", deleteReasons, 0},
		{"RefusesInvalid", deleteInvalid, 0},
	}
}

func deleteEnds(e *env) {
	r := e.create()
	e.delete(r.Key())
	e.gone(r.Key())
	if e.find(r.Key()) {
		e.Fatal("List yields a deleted record")
	}
	if n := len(e.list(state.Query{Namespace: e.ns, Expired: true})); n != 0 {
		e.Fatal("List of expired records yields a deleted one")
	}
	if ends := e.sweepAll(state.SweepOptions{Namespace: e.ns}); len(ends) != 0 {
		e.Fatal("Sweep returned the End of a deleted record: an ending is counted once")
	}
}

// endOf is the End that r has if op ends it at the given time.
func endOf(r state.Record, at time.Time, reason state.Reason, by string, op state.OpID) state.End {
	return state.End{
		Key: r.Key(), Kind: r.Kind, User: r.User, Version: r.Version, Created: r.Created,
		LastAccessed: r.LastAccessed, At: at, Reason: reason, By: by, Op: op,
	}
}

func deleteSays(e *env) {
	r := e.create()
	e.update(r, `1`)
	e.tick()
	e.must(state.TouchOp{Key: r.Key(), Idle: longLife})
	e.tick()
	r = e.live(r.Key())
	op := state.DeleteOp{Key: r.Key(), Reason: state.ReasonRevoked, By: "admin@example.com", ID: newOpID()}
	res := e.must(op)
	if len(res.Ended) != 1 {
		e.Fatalf("Delete of a live record: got %d ends, want 1", len(res.Ended))
	}
	end := res.Ended[0]
	want := endOf(r, end.At, op.Reason, op.By, op.ID)
	if d := diffEnd(end, want); d != "" {
		e.Fatalf("End of a deleted record: %s", d)
	}
	if end.At.Before(r.LastAccessed) || end.At.Location() != time.UTC || end.At != state.Cut(end.At) {
		e.Fatalf("End.At: got %v, want a time in UTC, cut to %v, and not before the last access", end.At, state.Precision)
	}
	if e.clock != nil && !end.At.Equal(e.now()) {
		e.Fatalf("End.At: got %v, want %v", end.At, e.now())
	}
}

func deleteRemembered(e *env) {
	r := e.create()
	res := e.must(state.DeleteOp{Key: r.Key(), Reason: state.ReasonBinding, By: "gate", ID: newOpID()})
	if d := diffEnd(e.ended(r.Key()), res.Ended[0]); d != "" {
		e.Fatalf("the End that Get remembers is not the one that Delete returned: %s", d)
	}
}

func deleteIdempotent(e *env) {
	r := e.create()
	first := e.delete(r.Key())
	e.tick()
	for range 3 {
		res := e.must(state.DeleteOp{Key: r.Key(), Reason: state.ReasonRevoked, By: "late", ID: newOpID()})
		if len(res.Ended) != 0 {
			e.Fatalf("second Delete: says that it ended %d records, want none", len(res.Ended))
		}
	}
	if d := diffEnd(e.ended(r.Key()), first); d != "" {
		e.Fatalf("a second Delete changed what is remembered of the first: %s", d)
	}
}

func deleteMissing(e *env) {
	k := e.key()
	for _, epoch := range []uint64{0, 5} {
		res := e.must(state.DeleteOp{Key: k, Reason: state.ReasonLogout, Epoch: epoch})
		if len(res.Ended) != 0 {
			e.Fatalf("Delete of a record that never was: says that it ended %d", len(res.Ended))
		}
	}
	e.create(at(k)) // it left no tombstone either
}

func deleteExpired(e *env) {
	op := e.createEnded(e.brief)
	for _, epoch := range []uint64{0, 5} {
		if res := e.must(state.DeleteOp{Key: op.Target(), Reason: state.ReasonLogout, Epoch: epoch}); len(res.Ended) != 0 {
			e.Fatal("Delete of an expired record: says that it ended it; that is for Sweep to say")
		}
	}
	ends := e.sweepAll(state.SweepOptions{Namespace: e.ns})
	if len(ends) != 1 || ends[0].Reason == state.ReasonLogout {
		e.Fatalf("Sweep after a Delete of an expired record: got %d ends, want that of the expiry", len(ends))
	}
}

func deleteFenced(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
	op := state.DeleteOp{Key: r.Key(), Reason: state.ReasonLogout, Epoch: 3}
	e.isFenced(e.fails(op, state.ErrFenced), 3, 1, "one")
	e.live(r.Key())
	op.Epoch = 1
	if len(e.must(op).Ended) != 1 {
		e.Fatal("Delete with the record's epoch ended nothing")
	}
	if res := e.must(state.DeleteOp{Key: r.Key(), Reason: state.ReasonLogout, Epoch: 3}); len(res.Ended) != 0 {
		e.Fatal("second Delete ended something")
	}
}

func deleteTombstone(e *env) {
	r := e.create()
	want := e.delete(r.Key())
	for range 3 {
		e.pass(state.TombstoneTTL/3 - time.Second)
		e.sweepAll(state.SweepOptions{Namespace: e.ns})
		if d := diffEnd(e.ended(r.Key()), want); d != "" {
			e.Fatalf("tombstone before its time: %s", d)
		}
		e.fails(e.createOp(at(r.Key())), state.ErrExists)
	}
}

// deleteStands checks that only a Sweep forgets a tombstone.
func deleteStands(e *env) {
	r := e.create()
	want := e.delete(r.Key())
	e.pass(3 * state.TombstoneTTL)
	for range 20 {
		e.create(lean) // however busy the store is
	}
	e.fails(e.createOp(at(r.Key())), state.ErrExists)
	if d := diffEnd(e.ended(r.Key()), want); d != "" {
		e.Fatalf("tombstone that is due and was not swept: %s", d)
	}
}

func deleteForgotten(e *env) {
	r := e.create()
	e.delete(r.Key())
	evicted := e.create(user("single"))
	e.create(user("single"), limit(state.Limit{PerUser: 1}))
	e.ended(r.Key())
	e.ended(evicted.Key())
	e.pass(state.TombstoneTTL + time.Second)
	for _, k := range []state.Key{r.Key(), evicted.Key()} {
		e.forgotten(k)
		e.create(at(k))
	}
}

// forgotten sweeps until a tombstone that is due is gone.
func (e *env) forgotten(k state.Key) {
	e.Helper()
	for range 100 {
		if _, err := e.store.Sweep(e.ctx, state.SweepOptions{Namespace: e.ns}); err != nil {
			e.Fatalf("Sweep: %v", err)
		}
		if e.gone(k) == nil {
			return
		}
	}
	e.Fatalf("a tombstone is remembered for more than %v, and 100 sweeps", state.TombstoneTTL)
}

func deleteReasons(e *env) {
	for _, reason := range []state.Reason{"x", "custom.reason-1_z", state.Reason(longText(state.MaxNameBytes))} {
		r := e.create()
		e.must(state.DeleteOp{Key: r.Key(), Reason: reason})
		if got := e.ended(r.Key()).Reason; got != reason {
			e.Fatalf("End.Reason: got %q, want %q", got, reason)
		}
	}
}

func deleteInvalid(e *env) {
	r := e.create()
	for _, op := range []state.DeleteOp{
		{},
		{Reason: "Has Space"},
		{Reason: state.ReasonLogout, By: "a\x00b"},
		{Reason: state.ReasonLogout, By: "\xff"},
	} {
		op.Key = r.Key()
		wantTyped(e, "Delete", e.fails(op, state.ErrInvalid))
	}
	e.fails(state.DeleteOp{Key: r.Key(), Reason: state.ReasonLogout, By: longText(state.MaxOwnerBytes + 1)}, state.ErrTooLarge)
	e.fails(state.DeleteOp{Key: r.Key(), Reason: state.Reason(longText(state.MaxNameBytes + 1))}, state.ErrTooLarge)
	e.fails(state.DeleteOp{Reason: state.ReasonLogout}, state.ErrInvalid)
}
