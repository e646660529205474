package statetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func sweepChecks() []check {
	return []check{
		{"EndsTheExpired", sweepEnds, 0},
		{"SaysWhatEnded", sweepSays, 0},
		{"SaysWhichDeadline", sweepReasons, manualClock},
		{"LeavesTheLive", sweepLeaves, 0},
		{"EndsAtMostMax", sweepMax, 0},
		{"SelectsByKind", sweepKind, 0},
		{"SeparatesNamespaces", sweepNamespace, 0},
		{"EndsTheLongExpired", sweepLate, manualClock},
		{"ForgetsTombstones", sweepForgets, manualClock},
		{"KeepsTombstonesOfOtherNamespaces", sweepForgetsOwn, manualClock},
		{"ReturnsEachExpiredOnce", sweepOnce, 0},
		{"RefusesInvalid", sweepInvalid, 0},
	}
}

// createExpired creates n records that have expired when it returns.
func (e *env) createExpired(n int, mods ...func(*state.CreateOp)) map[state.Ref]state.CreateOp {
	e.Helper()
	ops := make([]state.Op, n)
	made := make(map[state.Ref]state.CreateOp, n)
	for i := range ops {
		op := e.createOp(append(mods, e.brief)...)
		ops[i], made[op.Record.Ref] = op, op
	}
	for _, r := range e.applyAll(ops...) {
		if r.Err != nil {
			e.Fatal(r.Err)
		}
	}
	e.expire(e.life())
	return made
}

func sweepEnds(e *env) {
	made := e.createExpired(3)
	if n := len(e.list(state.Query{Namespace: e.ns, Expired: true})); n != 3 {
		e.Fatalf("List of expired records before the sweep: got %d, want 3", n)
	}
	ends := e.sweepAll(state.SweepOptions{Namespace: e.ns})
	if len(ends) != len(made) {
		e.Fatalf("Sweep: got %d ends, want %d", len(ends), len(made))
	}
	for _, end := range ends {
		if _, ok := made[end.Key.Ref]; !ok {
			e.Fatalf("Sweep: ended %v, which has not expired", end.Key)
		}
		e.gone(end.Key)
	}
	if n := len(e.list(state.Query{Namespace: e.ns, Expired: true})); n != 0 {
		e.Fatalf("List of expired records after the sweep: got %d, want none", n)
	}
	if again := e.sweepAll(state.SweepOptions{Namespace: e.ns}); len(again) != 0 {
		e.Fatalf("second Sweep: got %d ends again", len(again))
	}
}

func sweepSays(e *env) {
	op := e.createOp(e.brief)
	r := op.Record
	r.Stamp = e.must(op).Stamp
	e.expire(e.life())
	ends := e.sweepAll(state.SweepOptions{Namespace: e.ns})
	if len(ends) != 1 {
		e.Fatalf("Sweep: got %d ends, want 1", len(ends))
	}
	want := endOf(r, r.Expires(), state.ReasonAbsolute, "", state.OpID{})
	if d := diffEnd(ends[0], want); d != "" {
		e.Fatalf("End of a swept record: %s", d)
	}
	if d := diffEnd(e.ended(r.Key()), want); d != "" {
		e.Fatalf("the End that Get remembers of a swept record: %s", d)
	}
}

func sweepReasons(e *env) {
	idle := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = time.Hour, 5*time.Hour })
	absolute := e.create(func(op *state.CreateOp) { op.Idle, op.Lifetime = 2*time.Hour, 2*time.Hour })
	e.pass(10 * time.Hour)
	ends := e.sweepAll(state.SweepOptions{Namespace: e.ns})
	want := map[state.Ref]state.End{
		idle.Ref:     endOf(idle, idle.IdleDeadline, state.ReasonIdle, "", state.OpID{}),
		absolute.Ref: endOf(absolute, absolute.AbsoluteDeadline, state.ReasonAbsolute, "", state.OpID{}),
	}
	if len(ends) != len(want) {
		e.Fatalf("Sweep: got %d ends, want %d", len(ends), len(want))
	}
	for _, end := range ends {
		if d := diffEnd(end, want[end.Key.Ref]); d != "" {
			e.Fatalf("End of a swept record: %s", d)
		}
	}
}

func sweepLeaves(e *env) {
	live := e.create()
	e.createExpired(2)
	for _, end := range e.sweepAll(state.SweepOptions{Namespace: e.ns}) {
		if end.Key == live.Key() {
			e.Fatal("Sweep ended a live record")
		}
	}
	if d := diff(e.live(live.Key()), live); d != "" {
		e.Fatalf("Sweep changed a live record: %s", d)
	}
}

func sweepMax(e *env) {
	e.createExpired(5)
	for i, want := range []int{2, 2, 1, 0} {
		ends, err := e.store.Sweep(e.ctx, state.SweepOptions{Namespace: e.ns, Max: 2})
		if err != nil || len(ends) != want {
			e.Fatalf("Sweep %d of five expired records, two at most: got %d ends and error %v, want %d", i+1, len(ends), err, want)
		}
	}
}

func sweepKind(e *env) {
	e.createExpired(2, ofKind("session"))
	e.createExpired(1, ofKind("basket"))
	e.createExpired(1, ofKind("_node"))
	for _, c := range []struct {
		kind string
		want int
	}{{"absent", 0}, {"basket", 1}, {"", 3}, {"session", 0}} {
		ends := e.sweepAll(state.SweepOptions{Namespace: e.ns, Kind: c.kind})
		if len(ends) != c.want {
			e.Fatalf("Sweep of kind %q: got %d ends, want %d", c.kind, len(ends), c.want)
		}
		for _, end := range ends {
			if c.kind != "" && end.Kind != c.kind {
				e.Fatalf("Sweep of kind %q: ended one of kind %q", c.kind, end.Kind)
			}
		}
	}
}

func sweepNamespace(e *env) {
	e.createExpired(1)
	if ends := e.sweepAll(state.SweepOptions{Namespace: newNamespace()}); len(ends) != 0 {
		e.Fatal("Sweep of another namespace ended something")
	}
	if ends := e.sweepAll(state.SweepOptions{Namespace: e.ns}); len(ends) != 1 {
		e.Fatalf("Sweep: got %d ends, want 1", len(ends))
	}
}

func sweepLate(e *env) {
	r := e.create()
	e.pass(10 * state.TombstoneTTL)
	e.fails(state.TouchOp{Key: r.Key(), Idle: longLife}, state.ErrNotFound)
	ends := e.sweepAll(state.SweepOptions{Namespace: e.ns})
	if len(ends) != 1 || !ends[0].At.Equal(r.Expires()) {
		e.Fatalf("Sweep of a record that expired ten days ago: got %d ends, want one, at its deadline", len(ends))
	}
	if ends := e.sweepAll(state.SweepOptions{Namespace: e.ns}); len(ends) != 0 {
		e.Fatal("Sweep returned the same record again")
	}
}

func sweepForgets(e *env) {
	made := e.createExpired(5)
	e.sweepAll(state.SweepOptions{Namespace: e.ns})
	for range 2 { // so that a sweep before the time does nothing
		e.pass(state.TombstoneTTL/2 - time.Hour)
		e.sweepAll(state.SweepOptions{Namespace: e.ns, Max: 2})
		for _, op := range made {
			e.fails(e.createOp(at(op.Target())), state.ErrExists)
		}
	}
	e.pass(3 * time.Hour)
	for _, op := range made {
		e.forgotten(op.Target())
		e.create(at(op.Target()))
	}
}

func sweepForgetsOwn(e *env) {
	r := e.create()
	e.delete(r.Key())
	e.pass(time.Hour)
	for range 3 {
		e.sweepAll(state.SweepOptions{Namespace: newNamespace()})
	}
	e.ended(r.Key())
}

func sweepOnce(e *env) {
	made := e.createExpired(200)
	var mu sync.Mutex
	seen := map[state.Ref]int{}
	e.parallel(8, func(int) error {
		for quiet := 0; quiet < 3; {
			ends, err := e.store.Sweep(e.ctx, state.SweepOptions{Namespace: e.ns, Max: 7})
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
			e.Fatalf("eight sweeps at once: %v was returned %d times, want exactly once", ref, seen[ref])
		}
	}
	if len(seen) != len(made) {
		e.Fatalf("eight sweeps at once: got %d refs, want %d", len(seen), len(made))
	}
}

func sweepInvalid(e *env) {
	for _, o := range []state.SweepOptions{{}, {Namespace: "Not A Name"}, {Namespace: e.ns, Kind: "Not A Kind"}} {
		_, err := e.store.Sweep(e.ctx, o)
		wantError(e, fmt.Sprintf("Sweep of namespace %q and kind %q", o.Namespace, o.Kind), err, state.ErrInvalid)
	}
}
