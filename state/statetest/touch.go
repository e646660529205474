package statetest

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func touchChecks() []check {
	return []check{
		{"MovesForward", touchMoves, 0},
		{"MovesByTheStoresClock", touchExact, manualClock},
		{"NeverMovesBackward", touchForward, 0},
		{"StopsAtTheAbsoluteDeadline", touchCapped, 0},
		{"ChangesNoDataAndNoVersion", touchKeeps, 0},
		{"KeepsARecordAlive", touchKeepsAlive, manualClock},
		{"NeverRevives", touchNeverRevives, 0},
		{"NeverRevivesAtTheDeadline", touchAtDeadline, manualClock},
		{"RefusesStaleEpoch", touchFenced, 0},
		{"RefusesInvalid", touchInvalid, 0},
	}
}

func touchMoves(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Idle = time.Hour })
	e.tick()
	op := state.TouchOp{Key: r.Key(), Idle: 2 * time.Hour}
	s := e.must(op).Stamp
	if s.LastAccessed.Before(r.LastAccessed) {
		e.Fatalf("Touch: LastAccessed went back from %v to %v", r.LastAccessed, s.LastAccessed)
	}
	if want := s.LastAccessed.Add(op.Idle); !s.IdleDeadline.Equal(want) {
		e.Fatalf("Touch with an idle timeout of %v: got idle deadline %v, want %v", op.Idle, s.IdleDeadline, want)
	}
	if err := e.stampShape(&s); err != nil {
		e.Fatalf("Touch: %v", err)
	}
	if d := diffStamp(e.live(r.Key()).Stamp, s); d != "" {
		e.Fatalf("Get after Touch: %s", d)
	}
}

func touchExact(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Idle = time.Hour })
	e.pass(10*time.Minute + 345*time.Microsecond)
	op := state.TouchOp{Key: r.Key(), Idle: time.Hour}
	s := e.must(op).Stamp
	want := op.Apply(r.Stamp, e.clock.Now())
	want.Revision = s.Revision
	if d := diffStamp(s, want); d != "" {
		e.Fatalf("Touch after ten minutes: %s", d)
	}
}

func touchForward(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Idle = 3 * time.Hour })
	e.tick()
	s := e.must(state.TouchOp{Key: r.Key(), Idle: time.Minute}).Stamp
	if !s.IdleDeadline.Equal(r.IdleDeadline) {
		e.Fatalf("Touch with a shorter idle timeout: the idle deadline went from %v to %v, want it to stay", r.IdleDeadline, s.IdleDeadline)
	}
	if e.clock != nil && !s.LastAccessed.Equal(e.now()) {
		e.Fatalf("Touch with a shorter idle timeout: got LastAccessed %v, want %v", s.LastAccessed, e.now())
	}
}

func touchCapped(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, 2*time.Hour })
	s := e.must(state.TouchOp{Key: r.Key(), Idle: 50 * time.Hour}).Stamp
	if !s.IdleDeadline.Equal(r.AbsoluteDeadline) || !s.AbsoluteDeadline.Equal(r.AbsoluteDeadline) {
		e.Fatalf("Touch beyond the absolute deadline %v: got deadlines %v and %v", r.AbsoluteDeadline, s.IdleDeadline, s.AbsoluteDeadline)
	}
}

func touchKeeps(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "replica"})
	r = e.live(r.Key())
	e.tick()
	s := e.must(state.TouchOp{Key: r.Key(), Idle: longLife}).Stamp
	want := r.Clone()
	want.Revision, want.LastAccessed, want.IdleDeadline = s.Revision, s.LastAccessed, s.IdleDeadline
	if d := diff(e.live(r.Key()), want); d != "" {
		e.Fatalf("Get after Touch: %s", d)
	}
	e.must(state.UpdateOp{Key: r.Key(), Version: r.Version, Data: data("v", `1`)})
}

func touchKeepsAlive(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, 3*time.Hour })
	for range 3 {
		e.pass(50 * time.Minute)
		e.must(state.TouchOp{Key: r.Key(), Idle: time.Hour})
	}
	e.live(r.Key())
	e.clock.AdvanceTo(r.AbsoluteDeadline)
	end := e.ended(r.Key())
	if end.Reason != state.ReasonAbsolute || !end.At.Equal(r.AbsoluteDeadline) {
		e.Fatalf("a record in use until its absolute deadline %v: ended at %v for %q", r.AbsoluteDeadline, end.At, end.Reason)
	}
}

func touchNeverRevives(e *env) {
	op := e.createEnded(e.brief)
	e.fails(state.TouchOp{Key: op.Target(), Idle: longLife}, state.ErrNotFound)
	e.gone(op.Target())
	ends := e.sweepAll(state.SweepOptions{Namespace: e.ns})
	if len(ends) != 1 {
		e.Fatalf("Sweep after a late Touch: got %d ends, want the record's", len(ends))
	}
	e.fails(state.TouchOp{Key: op.Target(), Idle: longLife}, state.ErrNotFound)
	e.gone(op.Target())
}

func touchAtDeadline(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Idle = time.Hour })
	e.clock.AdvanceTo(r.IdleDeadline.Add(-time.Nanosecond))
	e.must(state.TouchOp{Key: r.Key(), Idle: time.Minute})
	r = e.live(r.Key())
	e.clock.AdvanceTo(r.IdleDeadline)
	e.fails(state.TouchOp{Key: r.Key(), Idle: time.Minute}, state.ErrNotFound)
}

func touchFenced(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
	err := e.fails(state.TouchOp{Key: r.Key(), Idle: longLife, Epoch: 8}, state.ErrFenced)
	e.isFenced(err, 8, 1, "one")
	e.must(state.TouchOp{Key: r.Key(), Idle: longLife, Epoch: 1})
	e.must(state.TouchOp{Key: r.Key(), Idle: longLife})
	fresh := e.create()
	e.fails(state.TouchOp{Key: fresh.Key(), Idle: longLife, Epoch: 1}, state.ErrFenced)
	e.fails(state.TouchOp{Key: e.key(), Idle: longLife, Epoch: 1}, state.ErrNotFound)
}

func touchInvalid(e *env) {
	r := e.create()
	for _, idle := range []time.Duration{0, -time.Second, time.Microsecond, 1<<63 - 1} {
		err := e.fails(state.TouchOp{Key: r.Key(), Idle: idle}, state.ErrInvalid)
		wantTyped(e, "Touch", err)
	}
	e.fails(state.TouchOp{Key: state.Key{Namespace: e.ns}, Idle: time.Hour}, state.ErrInvalid)
}
