package statetest

import (
	"encoding/json"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func getChecks() []check {
	return []check{
		{"OfMissingIsNotFound", getMissing, 0},
		{"OfOtherNamespaceIsNotFound", getNamespace, 0},
		{"ExpiresAtTheDeadline", getDeadline, manualClock},
		{"NeverReturnsExpired", getExpired, 0},
		{"SaysHowARecordExpired", getExpiredEnd, 0},
		{"NamesTheDeadlineThatEnded", getExpiredReason, manualClock},
		{"CountsRemainingDown", getRemaining, manualClock},
		{"NeverExceedsTheLifetime", getRemainingBound, 0},
		{"BelongsToTheCaller", getOwned, 0},
		{"RefusesInvalid", getInvalid, 0},
	}
}

func getMissing(e *env) {
	if end := e.gone(e.key()); end != nil {
		e.Fatalf("Get of a record that never was: the error has an End with reason %q", end.Reason)
	}
}

func getNamespace(e *env) {
	r := e.create()
	e.gone(state.Key{Namespace: newNamespace(), Ref: r.Ref})
}

func getDeadline(e *env) {
	for _, op := range []state.CreateOp{
		e.createOp(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, 2*time.Hour }),
		e.createOp(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, time.Hour }),
	} {
		deadline := e.must(op).Stamp.IdleDeadline
		e.clock.AdvanceTo(deadline.Add(-time.Millisecond))
		e.live(op.Target())
		e.clock.AdvanceTo(deadline)
		e.gone(op.Target())
		if e.find(op.Target()) {
			e.Fatal("List yields a record whose deadline is reached")
		}
	}
}

func getExpired(e *env) {
	op := e.createEnded(e.brief)
	e.gone(op.Target())
	if e.find(op.Target()) {
		e.Fatal("List yields an expired record")
	}
	e.sweepAll(state.SweepOptions{Namespace: e.ns})
	e.gone(op.Target())
}

func getExpiredEnd(e *env) {
	op := e.createOp(e.brief)
	s := e.must(op).Stamp
	e.expire(e.life())
	r := op.Record
	r.Stamp = s
	want := endOf(r, s.Expires(), state.ReasonAbsolute, "", state.OpID{})
	if d := diffEnd(e.ended(r.Key()), want); d != "" {
		e.Fatalf("End of an expired record before the sweep: %s", d)
	}
	e.sweepAll(state.SweepOptions{Namespace: e.ns})
	if d := diffEnd(e.ended(r.Key()), want); d != "" {
		e.Fatalf("End of an expired record after the sweep: %s", d)
	}
}

func getExpiredReason(e *env) {
	idle := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, 3*time.Hour })
	absolute := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = 3*time.Hour, 2*time.Hour })
	e.pass(4 * time.Hour)
	if end := e.ended(idle.Key()); end.Reason != state.ReasonIdle || !end.At.Equal(idle.IdleDeadline) {
		e.Fatalf("a record past its idle deadline %v: ended at %v for %q", idle.IdleDeadline, end.At, end.Reason)
	}
	if end := e.ended(absolute.Key()); end.Reason != state.ReasonAbsolute || !end.At.Equal(absolute.AbsoluteDeadline) {
		e.Fatalf("a record past its absolute deadline %v: ended at %v for %q", absolute.AbsoluteDeadline, end.At, end.Reason)
	}
}

func getRemaining(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, 2*time.Hour })
	e.pass(20 * time.Minute)
	r = e.live(r.Key()) // live compares Remaining with the clock
	if off := (r.Remaining - 40*time.Minute).Abs(); off > state.Precision {
		e.Fatalf("Remaining of an hour after twenty minutes: got %v, want 40m", r.Remaining)
	}
	for _, l := range e.list(state.Query{Namespace: e.ns}) {
		if l.Ref == r.Ref && (l.Remaining-r.Remaining).Abs() > state.Precision {
			e.Fatalf("Remaining of a listed record: got %v, want %v", l.Remaining, r.Remaining)
		}
	}
}

func getRemainingBound(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, 2*time.Hour })
	if r.Remaining > time.Hour+e.g.ClockError+state.Precision {
		e.Fatalf("Remaining of a record with an idle timeout of an hour: got %v", r.Remaining)
	}
}

func getOwned(e *env) {
	r := e.create()
	want := r.Clone()
	r.Data["basket"] = json.RawMessage(`"changed"`)
	r.Data["new"] = json.RawMessage(`1`)
	delete(r.Data, "count")
	if d := diff(e.live(want.Key()), want); d != "" {
		e.Fatalf("the record changed with what Get returned: %s", d)
	}
	for _, l := range e.list(state.Query{Namespace: e.ns}) {
		l.Data["basket"] = json.RawMessage(`"changed"`)
	}
	if d := diff(e.live(want.Key()), want); d != "" {
		e.Fatalf("the record changed with what List yielded: %s", d)
	}
}

func getInvalid(e *env) {
	for _, k := range []state.Key{
		{},
		{Namespace: e.ns},
		{Ref: newRef(e, 1)},
		{Namespace: "Not A Name", Ref: newRef(e, 1)},
	} {
		_, err := e.store.Get(e.ctx, k)
		wantError(e, "Get of an invalid key", err, state.ErrInvalid)
	}
	_, err := e.store.Get(e.ctx, state.Key{Namespace: longText(state.MaxNameBytes + 1), Ref: newRef(e, 1)})
	wantError(e, "Get in a namespace with a long name", err, state.ErrTooLarge)
}
