package statetest

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func extendChecks() []check {
	return []check{
		{"Lengthens", extendLengthens, 0},
		{"Shortens", extendShortens, 0},
		{"ByTheStoresClock", extendExact, manualClock},
		{"StopsAtTheMaximum", extendCapped, 0},
		{"ToThePastEndsTheRecord", extendEnds, manualClock},
		{"ChangesNoDataAndNoVersion", extendKeeps, 0},
		{"NeverRevives", extendNeverRevives, 0},
		{"SurvivesASweep", extendSurvivesSweep, 0},
		{"RefusesStaleEpoch", extendFenced, 0},
		{"RefusesInvalid", extendInvalid, 0},
	}
}

// extended checks that both deadlines are for after the extension.
func (e *env) extended(s state.Stamp, d time.Duration) {
	e.Helper()
	want := s.LastAccessed.Add(d)
	if !s.IdleDeadline.Equal(want) || !s.AbsoluteDeadline.Equal(want) {
		e.Fatalf("Extend by %v at %v: got deadlines %v and %v, want both %v", d, s.LastAccessed, s.IdleDeadline, s.AbsoluteDeadline, want)
	}
}

func extendLengthens(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, 2*time.Hour })
	s := e.must(state.ExtendOp{Key: r.Key(), For: 9 * time.Hour, Max: 20 * time.Hour}).Stamp
	e.extended(s, 9*time.Hour)
	if err := e.stampShape(&s); err != nil {
		e.Fatalf("Extend: %v", err)
	}
	if d := diffStamp(e.live(r.Key()).Stamp, s); d != "" {
		e.Fatalf("Get after Extend: %s", d)
	}
}

func extendShortens(e *env) {
	r := e.create()
	s := e.must(state.ExtendOp{Key: r.Key(), For: time.Hour, Max: 2 * time.Hour}).Stamp
	e.extended(s, time.Hour)
	life := e.life()
	e.must(state.ExtendOp{Key: r.Key(), For: life, Max: 2 * time.Hour})
	e.expire(life)
	if end := e.ended(r.Key()); end.Reason != state.ReasonAbsolute {
		e.Fatalf("a record that outlived its extension ended for %q, want %q, as both deadlines are equal", end.Reason, state.ReasonAbsolute)
	}
}

func extendExact(e *env) {
	r := e.create()
	e.pass(5*time.Minute + 987*time.Microsecond)
	op := state.ExtendOp{Key: r.Key(), For: time.Hour, Max: 100 * time.Hour}
	s := e.must(op).Stamp
	want := op.Apply(r.Stamp, e.clock.Now())
	want.Revision = s.Revision
	if d := diffStamp(s, want); d != "" {
		e.Fatalf("Extend after five minutes: %s", d)
	}
}

func extendCapped(e *env) {
	r := e.create()
	s := e.must(state.ExtendOp{Key: r.Key(), For: 500 * time.Hour, Max: 30 * time.Hour}).Stamp
	if want := r.Created.Add(30 * time.Hour); !s.AbsoluteDeadline.Equal(want) || !s.IdleDeadline.Equal(want) {
		e.Fatalf("Extend over the maximum: got deadlines %v and %v, want Created plus the maximum, %v", s.IdleDeadline, s.AbsoluteDeadline, want)
	}
}

func extendEnds(e *env) {
	r := e.create()
	e.pass(2 * time.Hour)
	e.must(state.ExtendOp{Key: r.Key(), For: time.Hour, Max: time.Hour})
	end := e.ended(r.Key())
	if want := r.Created.Add(time.Hour); !end.At.Equal(want) || end.Reason != state.ReasonAbsolute {
		e.Fatalf("Extend to a moment that is past: ended at %v for %q, want %v for %q", end.At, end.Reason, want, state.ReasonAbsolute)
	}
	e.fails(state.ExtendOp{Key: r.Key(), For: time.Hour, Max: 9 * time.Hour}, state.ErrNotFound)
	if ends := e.sweepAll(state.SweepOptions{Namespace: e.ns}); len(ends) != 1 {
		e.Fatalf("Sweep of a record that an Extend ended: got %d ends, want 1", len(ends))
	}
}

func extendKeeps(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "replica"})
	r = e.live(r.Key())
	e.tick()
	s := e.must(state.ExtendOp{Key: r.Key(), For: longLife, Max: 9 * longLife}).Stamp
	want := r.Clone()
	want.Revision, want.LastAccessed = s.Revision, s.LastAccessed
	want.IdleDeadline, want.AbsoluteDeadline = s.IdleDeadline, s.AbsoluteDeadline
	if d := diff(e.live(r.Key()), want); d != "" {
		e.Fatalf("Get after Extend: %s", d)
	}
	e.must(state.UpdateOp{Key: r.Key(), Version: r.Version, Data: data("v", `1`)})
}

func extendNeverRevives(e *env) {
	op := e.createEnded(e.brief)
	late := state.ExtendOp{Key: op.Target(), For: longLife, Max: 9 * longLife}
	e.fails(late, state.ErrNotFound)
	e.gone(op.Target())
	if ends := e.sweepAll(state.SweepOptions{Namespace: e.ns}); len(ends) != 1 {
		e.Fatalf("Sweep after a late Extend: got %d ends, want the record's", len(ends))
	}
	e.fails(late, state.ErrNotFound)
	e.gone(op.Target())
}

// extendSurvivesSweep checks that a sweep goes by the deadlines as they are
// now, not as they once were.
func extendSurvivesSweep(e *env) {
	// With the store's own clock the records are prolonged long before.
	touched := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, longLife })
	extended := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, time.Hour })
	if e.clock != nil {
		e.pass(time.Hour - time.Second)
	}
	e.must(state.TouchOp{Key: touched.Key(), Idle: longLife})
	e.must(state.ExtendOp{Key: extended.Key(), For: longLife, Max: 2 * longLife})
	if e.clock != nil {
		e.pass(2 * time.Second)
	}
	if ends := e.sweepAll(state.SweepOptions{Namespace: e.ns}); len(ends) != 0 {
		e.Fatalf("Sweep ended %d records that had been touched or extended in time", len(ends))
	}
	e.live(touched.Key())
	e.live(extended.Key())
}

func extendFenced(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
	op := state.ExtendOp{Key: r.Key(), For: longLife, Max: longLife, Epoch: 8}
	e.isFenced(e.fails(op, state.ErrFenced), 8, 1, "one")
	op.Epoch = 1
	e.must(op)
	op.Epoch = 0
	e.must(op)
	op.Key, op.Epoch = e.key(), 1
	e.fails(op, state.ErrNotFound)
}

func extendInvalid(e *env) {
	r := e.create()
	for _, op := range []state.ExtendOp{
		{For: 0, Max: time.Hour}, {For: time.Hour, Max: 0}, {For: -time.Hour, Max: time.Hour}, {For: 1<<63 - 1, Max: time.Hour},
	} {
		op.Key = r.Key()
		wantTyped(e, "Extend", e.fails(op, state.ErrInvalid))
	}
}
