package statetest

import (
	"crypto/rand"
	"encoding/json"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// sealedChecks are about [state.Record.Sealed], with which a wrapper encrypts.
func sealedChecks() []check {
	return []check{
		{"IsKeptByCreate", sealedCreate, 0},
		{"IsKeptByImport", sealedImport, 0},
		{"IsListed", sealedListed, 0},
		{"GoesWithData", sealedUpdate, 0},
		{"DoesNotCountInSize", sealedSize, 0},
		{"RefusesInvalid", sealedInvalid, 0},
	}
}

// opaque returns n bytes that are no text.
func opaque(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	copy(b, "\x00\xff'\\\x00")
	return b
}

func sealed(b []byte) func(*state.CreateOp) {
	return func(op *state.CreateOp) { op.Record.Sealed = b }
}

func (e *env) sealedIs(k state.Key, want []byte) {
	e.Helper()
	r := e.live(k)
	if d := diff(state.Record{Sealed: r.Sealed}, state.Record{Sealed: want}); d != "" {
		e.Fatal(d)
	}
}

func sealedCreate(e *env) {
	for _, n := range []int{0, 6, 4000} {
		op := e.createOp(sealed(opaque(n)))
		want := op.Record
		want.Stamp, want.LastOp = e.must(op).Stamp, op.ID
		if d := diff(e.live(want.Key()), want); d != "" {
			e.Fatalf("Get after Create with %d sealed bytes: %s", n, d)
		}
	}
}

func sealedImport(e *env) {
	r := e.exported(sealed(opaque(100)))
	e.must(state.ImportOp{Record: r})
	e.sealedIs(r.Key(), r.Sealed)
}

func sealedListed(e *env) {
	r := e.create(sealed(opaque(100)))
	rs := e.list(state.Query{Namespace: e.ns, After: before(r.Ref), Max: 1})
	if len(rs) != 1 || diff(rs[0], r) != "" {
		e.Fatal("List does not yield a record with sealed content as Get does")
	}
}

// before returns a ref just before r.
func before(r state.Ref) state.Ref {
	b := r.Bytes()
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			break
		}
	}
	prev, _ := state.RefFromBytes(b)
	return prev
}

func sealedUpdate(e *env) {
	first, second := opaque(100), opaque(200)
	r := e.create(sealed(first))
	k := r.Key()
	for i, step := range []struct {
		op   state.UpdateOp
		want []byte
	}{
		{state.UpdateOp{Meta: &state.Metadata{UserAgent: "other"}}, first},
		{state.UpdateOp{Rotate: &state.Rotation{Hash: newHash()}}, first},
		{state.UpdateOp{Data: data("v", `1`), Sealed: second}, second},
		{state.UpdateOp{Data: data("v", `2`)}, nil},
		{state.UpdateOp{Data: map[string]json.RawMessage{}, Sealed: first}, first},
		{state.UpdateOp{}, first},
	} {
		step.op.Key, step.op.Version = k, uint64(i+1)
		e.must(step.op)
		e.sealedIs(k, step.want)
	}
	e.must(state.TouchOp{Key: k, Idle: longLife})
	e.must(state.ExtendOp{Key: k, For: longLife, Max: 5 * longLife})
	e.must(state.SetOwnerOp{Key: k, Owner: "one"})
	e.sealedIs(k, first)
}

func sealedSize(e *env) {
	b := opaque(state.MaxRecordBytes + 64<<10)
	r := e.create(lean, sealed(b))
	e.sealedIs(r.Key(), b)
	b = opaque(state.MaxRecordBytes + 32<<10)
	e.must(state.UpdateOp{Key: r.Key(), Version: 1, Data: data("v", `1`), Sealed: b})
	e.sealedIs(r.Key(), b)
}

func sealedInvalid(e *env) {
	tooLong := opaque(state.MaxSealedBytes + 1)
	wantTyped(e, "Create", e.fails(e.createOp(sealed(tooLong)), state.ErrTooLarge))
	imp := e.exported(sealed(tooLong))
	wantTyped(e, "Import", e.fails(state.ImportOp{Record: imp}, state.ErrTooLarge))
	r := e.create()
	op := state.UpdateOp{Key: r.Key(), Version: 1, Data: data("v", `1`), Sealed: tooLong}
	wantTyped(e, "Update", e.fails(op, state.ErrTooLarge))
	op.Data, op.Sealed = nil, opaque(5)
	wantTyped(e, "Update without data", e.fails(op, state.ErrInvalid))
}
