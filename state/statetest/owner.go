package statetest

import (
	"github.com/coatcheck-mcp/coatcheck/state"
)

func setOwnerChecks() []check {
	return []check{
		{"RaisesTheEpoch", ownerRaises, 0},
		{"ComparesTheEpoch", ownerCompares, 0},
		{"Releases", ownerReleases, 0},
		{"ChangesNothingElse", ownerKeeps, 0},
		{"FencesLateWrites", ownerFences, 0},
		{"OfMissingIsNotFound", ownerMissing, 0},
		{"RefusesInvalid", ownerInvalid, 0},
	}
}

func ownerRaises(e *env) {
	r := e.create()
	for epoch, name := range []string{"one", "two", "two", "three"} {
		s := e.must(state.SetOwnerOp{Key: r.Key(), Epoch: uint64(epoch), Owner: name}).Stamp
		if s.Epoch != uint64(epoch)+1 {
			e.Fatalf("SetOwner at epoch %d: got epoch %d, want %d", epoch, s.Epoch, epoch+1)
		}
		if got := e.live(r.Key()); got.Owner != name || got.Epoch != s.Epoch {
			e.Fatalf("Get after SetOwner: got owner %q and epoch %d, want %q and %d", got.Owner, got.Epoch, name, s.Epoch)
		}
	}
}

func ownerCompares(e *env) {
	r := e.create()
	err := e.fails(state.SetOwnerOp{Key: r.Key(), Epoch: 1, Owner: "early"}, state.ErrFenced)
	e.isFenced(err, 1, 0, "")
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
	err = e.fails(state.SetOwnerOp{Key: r.Key(), Owner: "late"}, state.ErrFenced)
	e.isFenced(err, 0, 1, "one")
}

func ownerReleases(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
	e.must(state.SetOwnerOp{Key: r.Key(), Epoch: 1})
	if got := e.live(r.Key()); got.Owner != "" || got.Epoch != 2 {
		e.Fatalf("after a release: got owner %q and epoch %d, want none and 2", got.Owner, got.Epoch)
	}
}

func ownerKeeps(e *env) {
	r := e.create()
	e.tick()
	s := e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"}).Stamp
	want := r.Clone()
	want.Revision, want.Epoch, want.Owner = s.Revision, 1, "one"
	if d := diff(e.live(r.Key()), want); d != "" {
		e.Fatalf("Get after SetOwner: %s", d)
	}
	e.must(state.UpdateOp{Key: r.Key(), Version: r.Version, Data: data("v", `1`)})
}

func ownerFences(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
	e.must(state.SetOwnerOp{Key: r.Key(), Epoch: 1, Owner: "two"})
	for _, op := range []state.Op{
		state.UpdateOp{Key: r.Key(), Version: 1, Epoch: 1, Data: data("late", `1`)},
		state.TouchOp{Key: r.Key(), Idle: longLife, Epoch: 1},
		state.ExtendOp{Key: r.Key(), For: longLife, Max: longLife, Epoch: 1},
		state.SetOwnerOp{Key: r.Key(), Epoch: 1, Owner: "one"},
		state.DeleteOp{Key: r.Key(), Reason: state.ReasonLogout, Epoch: 1},
	} {
		e.isFenced(e.fails(op, state.ErrFenced), 1, 2, "two")
	}
}

func ownerMissing(e *env) {
	e.fails(state.SetOwnerOp{Key: e.key(), Owner: "one"}, state.ErrNotFound)
	e.fails(state.SetOwnerOp{Key: e.key(), Epoch: 4, Owner: "one"}, state.ErrNotFound)
	r := e.create()
	e.delete(r.Key())
	e.fails(state.SetOwnerOp{Key: r.Key(), Owner: "one"}, state.ErrNotFound)
	op := e.createEnded(e.brief)
	e.fails(state.SetOwnerOp{Key: op.Target(), Owner: "one"}, state.ErrNotFound)
}

func ownerInvalid(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: longText(state.MaxOwnerBytes)})
	for owner, want := range map[string]error{
		longText(state.MaxOwnerBytes + 1): state.ErrTooLarge,
		"a\x00b":                          state.ErrInvalid,
		"\xff\xfe":                        state.ErrInvalid,
	} {
		wantTyped(e, "SetOwner", e.fails(state.SetOwnerOp{Key: r.Key(), Epoch: 1, Owner: owner}, want))
	}
}
