package statetest

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func updateChecks() []check {
	return []check{
		{"ComparesAndSwaps", updateSwaps, 0},
		{"RaisesVersionByOne", updateVersions, 0},
		{"ReplacesOnlyWhatIsGiven", updateParts, 0},
		{"ReplacesAllData", updateReplaces, 0},
		{"NeverChangesDeadlines", updateKeepsStamp, 0},
		{"LeavesOpID", updateLeavesOp, 0},
		{"RaisesRevision", updateRevision, 0},
		{"NeverCreates", updateMissing, 0},
		{"NeverRevivesDeleted", updateDeleted, 0},
		{"NeverRevivesExpired", updateExpired, 0},
		{"NeverRevivesEvicted", updateEvicted, 0},
		{"RefusesStaleEpoch", updateFenced, 0},
		{"KnowsTheOrderOfErrors", updateOrder, 0},
		{"RefusesTooLarge", updateTooLarge, 0},
		{"KeepsNothingItWasGiven", updateCopies, 0},
		{"RefusesInvalid", updateInvalid, 0},
	}
}

func updateSwaps(e *env) {
	r := e.create()
	e.update(r, `"first"`)
	err := e.fails(state.UpdateOp{Key: r.Key(), Version: r.Version, Data: data("v", `"second"`)}, state.ErrConflict)
	var c *state.ConflictError
	if !errors.As(err, &c) || c.Want != 1 || c.Have != 2 {
		e.Fatalf("Update of an old version: got %v (%T), want a *ConflictError with Want 1 and Have 2", err, err)
	}
	e.fails(state.UpdateOp{Key: r.Key(), Version: 3, Data: data("v", `"future"`)}, state.ErrConflict)
	if d := diff2JSON(e.live(r.Key()).Data["v"], `"first"`); d != "" {
		e.Fatalf("after a lost Update: %s", d)
	}
}

func diff2JSON(got json.RawMessage, want string) string {
	var d differ
	d.json("value", got, json.RawMessage(want))
	return strings.Join(d.found, "; ")
}

func updateVersions(e *env) {
	r := e.create()
	for want := uint64(2); want < 12; want++ {
		s := e.update(r, `1`).Stamp
		if s.Version != want {
			e.Fatalf("Update of version %d: got version %d, want %d", r.Version, s.Version, want)
		}
		if r = e.live(r.Key()); r.Version != want {
			e.Fatalf("Get after Update to version %d: got version %d", want, r.Version)
		}
	}
}

func updateParts(e *env) {
	r := e.create()
	meta := state.Metadata{Address: netip.MustParseAddr("2001:db8::5"), UserAgent: "other", ProtocolVersion: "2025-06-18"}
	hash := newHash()
	for name, c := range map[string]struct {
		op   state.UpdateOp
		want func(*state.Record)
	}{
		"Nothing": {state.UpdateOp{}, func(*state.Record) {}},
		"Data":    {state.UpdateOp{Data: data("only", `[1]`)}, func(r *state.Record) { r.Data = data("only", `[1]`) }},
		"Meta":    {state.UpdateOp{Meta: &meta}, func(r *state.Record) { r.Meta = meta }},
		"Secret":  {state.UpdateOp{Rotate: &state.Rotation{Hash: hash}}, func(r *state.Record) { r.Secret = state.Secret{Hash: hash} }},
	} {
		want := r.Clone()
		c.want(&want)
		c.op.Key, c.op.Version, c.op.ID = r.Key(), r.Version, newOpID()
		s := e.must(c.op).Stamp
		want.Stamp, want.LastOp = r.Stamp, c.op.ID
		want.Version, want.Revision = r.Version+1, s.Revision
		r = e.live(r.Key())
		if d := diff(r, want); d != "" {
			e.Fatalf("Update of %s: %s", name, d)
		}
	}
}

func updateReplaces(e *env) {
	r := e.create(func(op *state.CreateOp) { op.Record.Data = data("old", `1`) })
	e.must(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("new", `2`)})
	got := e.live(r.Key()).Data
	if len(got) != 1 || got["new"] == nil {
		e.Fatalf("Update of data: got %d keys, want the one that was given", len(got))
	}
	e.must(state.UpdateOp{Key: r.Key(), Version: 2, Data: map[string]json.RawMessage{}})
	if got := e.live(r.Key()).Data; len(got) != 0 {
		e.Fatalf("Update to empty data: got %d keys, want none; only nil leaves data unchanged", len(got))
	}
}

func updateKeepsStamp(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "replica"})
	r = e.live(r.Key())
	e.tick()
	s := e.update(r, `1`).Stamp
	want := r.Stamp
	want.Version, want.Revision = r.Version+1, s.Revision
	if d := diffStamp(s, want); d != "" {
		e.Fatalf("stamp of Update: %s", d)
	}
	got := e.live(r.Key())
	if d := diffStamp(got.Stamp, want); d != "" {
		e.Fatalf("stamp after Update: %s", d)
	}
	if got.Owner != r.Owner || got.User != r.User || got.Kind != r.Kind {
		e.Fatal("Update changed owner, user or kind")
	}
}

func updateLeavesOp(e *env) {
	r := e.create()
	id := newOpID()
	e.must(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("v", `1`), ID: id})
	e.must(state.TouchOp{Key: r.Key(), Idle: longLife})
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "replica"})
	e.must(state.ExtendOp{Key: r.Key(), For: longLife, Max: 3 * longLife})
	if got := e.live(r.Key()).LastOp; got != id {
		e.Fatalf("LastOp after Update, Touch, SetOwner and Extend: got %x, want the Update's %x", got, id)
	}
	e.must(state.UpdateOp{Key: r.Key(), Version: 2, Data: data("v", `2`)})
	if got := e.live(r.Key()).LastOp; !got.IsZero() {
		e.Fatalf("LastOp after an Update without an ID: got %x, want none: it did not make this version", got)
	}
}

// updateRevision checks that each kind of write raises the revision, and that
// reads show the revision that the write returned.
func updateRevision(e *env) {
	r := e.create()
	last := r.Revision
	for _, op := range everyOp(r.Key(), 1) {
		e.tick()
		s := e.must(op).Stamp
		if s.Revision <= last {
			e.Fatalf("%T: revision went from %d to %d, want it to rise with every write", op, last, s.Revision)
		}
		if got := e.live(r.Key()).Revision; got != s.Revision {
			e.Fatalf("Get after %T: got revision %d, want %d", op, got, s.Revision)
		}
		last = s.Revision
	}
}

func updateMissing(e *env) {
	k := e.key()
	for _, op := range everyOp(k, 1) {
		err := e.fails(op, state.ErrNotFound)
		var nf *state.NotFoundError
		if errors.As(err, &nf) && nf.End != nil {
			e.Fatalf("%T of a record that never was: the error has an End", op)
		}
	}
	e.gone(k)
	if n := len(e.list(state.Query{Namespace: e.ns})); n != 0 {
		e.Fatalf("operations on a missing record left %d records", n)
	}
}

func updateDeleted(e *env) {
	r := e.create()
	e.delete(r.Key())
	e.staysGone(r.Key(), r.Version, state.ReasonLogout)
}

func updateExpired(e *env) {
	op := e.createEnded(e.brief)
	e.staysGone(op.Target(), 1, "")
	e.sweepAll(state.SweepOptions{Namespace: e.ns})
	e.staysGone(op.Target(), 1, "")
}

func updateEvicted(e *env) {
	r := e.create(user("single"))
	e.create(user("single"), limit(state.Limit{PerUser: 1}))
	e.staysGone(r.Key(), r.Version, state.ReasonEvicted)
}

// staysGone tries every way in which a late request could bring a record back.
func (e *env) staysGone(k state.Key, version uint64, reason state.Reason) {
	e.Helper()
	for _, op := range everyOp(k, version) {
		e.fails(op, state.ErrNotFound)
		if end := e.ended(k); reason != "" && end.Reason != reason {
			e.Fatalf("after a late %T: the End has reason %q, want %q", op, end.Reason, reason)
		}
	}
	imp := e.exported()
	imp.Ref = k.Ref
	e.fails(e.createOp(at(k)), state.ErrExists)
	e.fails(state.ImportOp{Record: imp}, state.ErrExists)
	if r := e.must(state.DeleteOp{Key: k, Reason: state.ReasonRevoked}); len(r.Ended) != 0 {
		e.Fatalf("Delete of a record that is gone: says it ended %d", len(r.Ended))
	}
	e.ended(k)
	if e.find(k) {
		e.Fatal("List yields a record that is gone")
	}
}

// find reports whether List yields the record.
func (e *env) find(k state.Key) bool {
	e.Helper()
	for _, r := range e.list(state.Query{Namespace: k.Namespace}) {
		if r.Ref == k.Ref {
			return true
		}
	}
	return false
}

func updateFenced(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
	e.must(state.SetOwnerOp{Key: r.Key(), Epoch: 1, Owner: "two"})
	for _, epoch := range []uint64{1, 3} {
		err := e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Epoch: epoch, Data: data("v", `1`)}, state.ErrFenced)
		e.isFenced(err, epoch, 2, "two")
	}
	e.must(state.UpdateOp{Key: r.Key(), Version: 1, Epoch: 2, Data: data("v", `1`)})
	e.must(state.UpdateOp{Key: r.Key(), Version: 2, Epoch: 0, Data: data("v", `2`)})
}

// updateOrder checks which of several errors is reported: invalid, not found,
// fenced, version conflict.
func updateOrder(e *env) {
	r := e.create()
	e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
	bad := state.UpdateOp{Key: r.Key(), Version: 9, Epoch: 9, Data: data("v", `1`)}
	e.fails(bad, state.ErrFenced)
	bad.Data = data("v", `{`)
	e.fails(bad, state.ErrInvalid)
	bad.Key = e.key()
	e.fails(bad, state.ErrInvalid)
	bad.Data = data("v", `1`)
	e.fails(bad, state.ErrNotFound)
	bad.Data = data("v", bigString(state.MaxRecordBytes+1))
	e.fails(bad, state.ErrTooLarge)
	// The size of the record that would be is judged last.
	bad.Data = data("v", bigString(state.MaxRecordBytes))
	e.fails(bad, state.ErrNotFound)
	bad.Key = r.Key()
	e.fails(bad, state.ErrFenced)
	bad.Epoch = 1
	e.fails(bad, state.ErrConflict)
	bad.Version = 1
	e.fails(bad, state.ErrTooLarge)
	e.delete(r.Key())
	bad.Key, bad.Data = r.Key(), data("v", `1`)
	e.fails(bad, state.ErrNotFound)
}

// bigString returns a JSON string of n bytes.
func bigString(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }

func updateTooLarge(e *env) {
	r := e.create(func(op *state.CreateOp) {
		op.Record.User = longText(100)
		op.Record.Meta = state.Metadata{UserAgent: longText(200)}
		op.Record.Data = nil
	})
	room := state.MaxRecordBytes - state.Size(&r) - len("k")
	e.fails(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("k", bigString(room+1))}, state.ErrTooLarge)
	e.must(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("k", bigString(room))})
	meta := r.Meta
	meta.UserAgent += "x"
	e.fails(state.UpdateOp{Key: r.Key(), Version: 2, Meta: &meta}, state.ErrTooLarge)
	var b *state.BoundError
	if err := e.apply(state.UpdateOp{Key: r.Key(), Version: 2, Meta: &meta}).Err; !errors.As(err, &b) || b.Max != state.MaxRecordBytes {
		e.Fatalf("Update to one byte too many: got %v (%T), want a *BoundError with Max %d", err, err, state.MaxRecordBytes)
	}
	e.must(state.UpdateOp{Key: r.Key(), Version: 2, Meta: &meta, Data: data("k", `1`)})
}

func updateCopies(e *env) {
	r := e.create()
	d, m := data("k", `1`), state.Metadata{UserAgent: "one"}
	e.must(state.UpdateOp{Key: r.Key(), Version: 1, Data: d, Meta: &m})
	want := e.live(r.Key())
	d["k"], d["other"], m.UserAgent = json.RawMessage(`2`), json.RawMessage(`3`), "two"
	if d := diff(e.live(r.Key()), want); d != "" {
		e.Fatalf("the record changed with what the caller gave after Update returned: %s", d)
	}
}

func updateInvalid(e *env) {
	r := e.create()
	long := state.Metadata{UserAgent: longText(state.MaxAgentBytes + 1)}
	bad := state.Metadata{UserAgent: "a\x00b"}
	for name, c := range map[string]struct {
		op   state.UpdateOp
		want error
	}{
		"NoVersion": {state.UpdateOp{}, state.ErrInvalid},
		"BadJSON":   {state.UpdateOp{Version: 1, Data: data("k", `nope`)}, state.ErrInvalid},
		"EmptyKey":  {state.UpdateOp{Version: 1, Data: data("", `1`)}, state.ErrInvalid},
		"LongKey":   {state.UpdateOp{Version: 1, Data: data(longText(state.MaxKeyBytes+1), `1`)}, state.ErrTooLarge},
		"LongAgent": {state.UpdateOp{Version: 1, Meta: &long}, state.ErrTooLarge},
		"NULAgent":  {state.UpdateOp{Version: 1, Meta: &bad}, state.ErrInvalid},
	} {
		c.op.Key = r.Key()
		err := e.fails(c.op, c.want)
		wantTyped(e, name, err)
	}
	e.fails(state.UpdateOp{Key: state.Key{Namespace: "Bad Name", Ref: r.Ref}, Version: 1}, state.ErrInvalid)
	e.fails(state.UpdateOp{Key: state.Key{Namespace: e.ns}, Version: 1}, state.ErrInvalid)
}

// wantTyped checks that an error about an argument says which.
func wantTyped(t testing.TB, name string, err error) {
	t.Helper()
	var b *state.BoundError
	var i *state.InvalidError
	if !errors.As(err, &b) && !errors.As(err, &i) {
		t.Fatalf("%s: got %v (%T), want a *BoundError or *InvalidError", name, err, err)
	}
}

// isFenced checks what a fenced caller is told.
func (e *env) isFenced(err error, want, have uint64, owner string) {
	e.Helper()
	var f *state.FencedError
	if !errors.As(err, &f) || f.Want != want || f.Have != have || f.Owner != owner {
		e.Fatalf("got %v (%T), want a *FencedError with Want %d, Have %d and the owner", err, err, want, have)
	}
}

// tick moves a manual clock, so that a write that should not change a time is
// seen to do so.
func (e *env) tick() {
	if e.clock != nil {
		e.clock.Advance(1234567 * time.Microsecond)
	}
}
