package statetest

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func rotateChecks() []check {
	return []check{
		{"ReplacesTheSecret", rotateReplaces, 0},
		{"KeepsThePreviousForGrace", rotateGrace, 0},
		{"CountsGraceByTheStoresClock", rotateGraceExact, manualClock},
		{"ForgetsThePreviousAfterGrace", rotateGraceEnds, 0},
		{"WithoutGraceForgetsThePrevious", rotateNoGrace, 0},
		{"KeepsOnlyOnePrevious", rotateTwice, 0},
		{"IsPartOfTheSwap", rotateConflict, 0},
		{"IsKeptByOtherWrites", rotateKept, 0},
	}
}

func (e *env) rotate(r state.Record, grace time.Duration) state.Record {
	e.Helper()
	e.must(state.UpdateOp{Key: r.Key(), Version: r.Version, Rotate: &state.Rotation{Hash: newHash(), Grace: grace}})
	return e.live(r.Key())
}

func rotateReplaces(e *env) {
	r := e.create()
	h := newHash()
	e.must(state.UpdateOp{Key: r.Key(), Version: 1, Rotate: &state.Rotation{Hash: h, Grace: time.Hour}})
	got := e.live(r.Key())
	if got.Secret.Hash != h || got.Version != 2 {
		e.Fatal("Update with a Rotation: the secret is not the new one, or the version did not rise")
	}
	if d := diff(state.Record{Data: got.Data, Meta: got.Meta}, state.Record{Data: r.Data, Meta: r.Meta}); d != "" {
		e.Fatalf("Update with a Rotation alone changed %s", d)
	}
}

func rotateGrace(e *env) {
	r := e.create()
	got := e.rotate(r, time.Hour)
	if got.Secret.Previous != r.Secret.Hash {
		e.Fatal("within the grace: Secret.Previous is not the hash before the rotation")
	}
	if u := got.Secret.PreviousUntil; u.IsZero() || u.Location() != time.UTC || u != state.Cut(u) {
		e.Fatalf("PreviousUntil: got %v, want a time in UTC, cut to %v", u, state.Precision)
	}
}

func rotateGraceExact(e *env) {
	r := e.create()
	want := e.now().Add(time.Hour)
	r = e.rotate(r, time.Hour)
	if !r.Secret.PreviousUntil.Equal(want) {
		e.Fatalf("PreviousUntil after a rotation with an hour of grace: got %v, want %v", r.Secret.PreviousUntil, want)
	}
	e.clock.AdvanceTo(want.Add(-time.Millisecond))
	if e.live(r.Key()).Secret.Previous.IsZero() {
		e.Fatal("a millisecond before the end of the grace: Secret.Previous is zero")
	}
	e.clock.AdvanceTo(want)
	if got := e.live(r.Key()).Secret; got != (state.Secret{Hash: r.Secret.Hash}) {
		e.Fatal("at the end of the grace: Secret.Previous is still returned")
	}
}

func rotateGraceEnds(e *env) {
	r := e.create()
	e.must(state.UpdateOp{Key: r.Key(), Version: 1, Rotate: &state.Rotation{Hash: newHash(), Grace: e.life()}})
	e.pass(e.life())
	if got := e.live(r.Key()).Secret; !got.Previous.IsZero() || !got.PreviousUntil.IsZero() {
		e.Fatal("Get after the grace: returned the previous secret, want it zero")
	}
	for _, l := range e.list(state.Query{Namespace: e.ns}) {
		if !l.Secret.Previous.IsZero() {
			e.Fatal("List after the grace: returned the previous secret, want it zero")
		}
	}
}

func rotateNoGrace(e *env) {
	r := e.rotate(e.create(), time.Hour)
	r = e.rotate(r, 0)
	if r.Secret.Hash.IsZero() || !r.Secret.Previous.IsZero() || !r.Secret.PreviousUntil.IsZero() {
		e.Fatal("a rotation without grace: a previous secret still counts")
	}
}

func rotateTwice(e *env) {
	first := e.create()
	second := e.rotate(first, time.Hour)
	third := e.rotate(second, time.Hour)
	if third.Secret.Previous != second.Secret.Hash {
		e.Fatal("after two rotations within the grace: Secret.Previous is not that of the second")
	}
}

func rotateConflict(e *env) {
	r := e.rotate(e.create(), time.Hour)
	e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Rotate: &state.Rotation{Hash: newHash()}}, state.ErrConflict)
}

func rotateKept(e *env) {
	r := e.rotate(e.create(), time.Hour)
	for _, op := range everyOp(r.Key(), r.Version) {
		e.must(op)
		if got := e.live(r.Key()).Secret; got != r.Secret {
			e.Fatalf("%T changed the secret", op)
		}
	}
}
