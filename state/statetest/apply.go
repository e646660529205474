package statetest

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func applyChecks() []check {
	return []check{
		{"OfNothingDoesNothing", applyNothing, 0},
		{"AnswersEachOperation", applyAnswers, 0},
		{"KeepsTheOrderOnARef", applyOrder, 0},
		{"KeepsTheOrderOnInterleavedRefs", applyInterleaved, 0},
		{"FailuresSpoilNoOther", applyPartial, 0},
		{"RefusesNilAndPointers", applyNil, 0},
		{"TakesMany", applyMany, 0},
		{"KeepsLimitsWithinOneCall", applyLimit, 0},
		{"CreatesOneOfEqualRefs", applySameRef, 0},
		{"ResultsAreFinal", applyFinal, 0},
	}
}

func applyNothing(e *env) {
	if rs := e.store.Apply(e.ctx); len(rs) != 0 {
		e.Fatalf("Apply of nothing: got %d results", len(rs))
	}
}

// applyAll applies the operations in one call.
func (e *env) applyAll(ops ...state.Op) []state.Result {
	e.Helper()
	rs := e.store.Apply(e.ctx, ops...)
	if len(rs) != len(ops) {
		e.Fatalf("Apply of %d operations: got %d results", len(ops), len(rs))
	}
	for i, r := range rs {
		if ops[i] != nil {
			e.note(ops[i].Target(), r)
		}
	}
	return rs
}

func applyAnswers(e *env) {
	upd, tch, ext, own, del := e.create(), e.create(), e.create(), e.create(), e.create()
	ops := []state.Op{
		state.DeleteOp{Key: del.Key(), Reason: state.ReasonLogout},
		e.createOp(),
		state.UpdateOp{Key: upd.Key(), Version: 1, Data: data("v", `1`)},
		state.TouchOp{Key: tch.Key(), Idle: longLife},
		state.ImportOp{Record: e.exported()},
		state.ExtendOp{Key: ext.Key(), For: longLife, Max: 5 * longLife},
		state.SetOwnerOp{Key: own.Key(), Owner: "one"},
	}
	for i, r := range e.applyAll(ops...) {
		if r.Err != nil {
			e.Fatalf("operation %d, %T: got error %v", i, ops[i], r.Err)
		}
		k := ops[i].Target()
		if _, ok := ops[i].(state.DeleteOp); ok {
			if len(r.Ended) != 1 || r.Ended[0].Key != k {
				e.Fatalf("operation %d, %T: its result is not its own", i, ops[i])
			}
			e.gone(k)
			continue
		}
		if d := diffStamp(e.live(k).Stamp, r.Stamp); d != "" {
			e.Fatalf("operation %d, %T: the record differs from its result: %s", i, ops[i], d)
		}
	}
}

func applyOrder(e *env) {
	op := e.createOp()
	k := op.Target()
	rs := e.applyAll(
		state.UpdateOp{Key: k, Version: 1, Data: data("v", `0`)}, // 0: not found
		op, // 1
		state.UpdateOp{Key: k, Version: 1, Data: data("v", `1`)},           // 2
		state.UpdateOp{Key: k, Version: 1, Data: data("v", `2`)},           // 3: conflict
		state.UpdateOp{Key: k, Version: 2, Data: data("v", `3`)},           // 4
		state.SetOwnerOp{Key: k, Owner: "one"},                             // 5
		state.TouchOp{Key: k, Idle: longLife, Epoch: 2},                    // 6: fenced
		state.UpdateOp{Key: k, Version: 3, Epoch: 1, Data: data("v", `4`)}, // 7
		e.createOp(at(k)), // 8: exists
		state.DeleteOp{Key: k, Reason: state.ReasonRevoked}, // 9
		state.TouchOp{Key: k, Idle: longLife},               // 10: not found
		state.DeleteOp{Key: k, Reason: state.ReasonLogout},  // 11: ends nothing
		e.createOp(at(k)), // 12: exists
	)
	want := []error{
		0: state.ErrNotFound, 3: state.ErrConflict, 6: state.ErrFenced,
		8: state.ErrExists, 10: state.ErrNotFound, 12: state.ErrExists,
	}
	for i, r := range rs {
		wantError(e, fmt.Sprintf("operation %d on one ref", i), r.Err, want[i])
	}
	if v := rs[7].Stamp.Version; v != 4 {
		e.Fatalf("third Update on one ref in one Apply: got version %d, want 4", v)
	}
	if len(rs[9].Ended) != 1 || rs[9].Ended[0].Version != 4 || len(rs[11].Ended) != 0 {
		e.Fatal("two Deletes on one ref in one Apply: the first has to end version 4, the second nothing")
	}
	if end := e.ended(k); end.Reason != state.ReasonRevoked {
		e.Fatalf("End.Reason: got %q, want that of the first Delete", end.Reason)
	}
}

func applyInterleaved(e *env) {
	const refs, rounds = 5, 6
	var ops []state.Op
	keys := make([]state.Key, refs)
	for i := range keys {
		op := e.createOp()
		keys[i] = op.Target()
		ops = append(ops, op)
	}
	for v := uint64(1); v <= rounds; v++ {
		for i, k := range keys {
			ops = append(ops, state.UpdateOp{Key: k, Version: v, Data: data("v", fmt.Sprint(v, i)[:1])})
		}
	}
	for i, r := range e.applyAll(ops...) {
		if r.Err != nil {
			e.Fatalf("operation %d of %d on %d refs: got error %v; operations on one ref take effect in the order given", i, len(ops), refs, r.Err)
		}
	}
	for _, k := range keys {
		if v := e.live(k).Version; v != rounds+1 {
			e.Fatalf("after %d Updates: got version %d", rounds, v)
		}
	}
}

func applyPartial(e *env) {
	first, last, taken := e.createOp(), e.createOp(), e.create()
	rs := e.applyAll(
		first,
		e.createOp(at(taken.Key())),
		e.createOp(func(op *state.CreateOp) { op.Record.Data = data("k", `{`) }),
		state.TouchOp{Key: e.key(), Idle: longLife},
		state.UpdateOp{Key: taken.Key(), Version: 7},
		state.SetOwnerOp{Key: taken.Key(), Epoch: 7},
		e.createOp(func(op *state.CreateOp) { op.Record.Data = data("k", bigString(state.MaxRecordBytes)) }),
		e.createOp(limit(state.Limit{Total: 1})),
		last,
	)
	want := []error{
		nil, state.ErrExists, state.ErrInvalid, state.ErrNotFound, state.ErrConflict,
		state.ErrFenced, state.ErrTooLarge, state.ErrLimit, nil,
	}
	for i, r := range rs {
		wantError(e, fmt.Sprintf("operation %d", i), r.Err, want[i])
	}
	e.live(first.Target())
	e.live(last.Target())
	if d := diff(e.live(taken.Key()), taken); d != "" {
		e.Fatalf("failed operations changed a record: %s", d)
	}
}

func applyNil(e *env) {
	op := e.createOp()
	rs := e.applyAll(nil, op)
	wantError(e, "Apply of a nil operation", rs[0].Err, state.ErrInvalid)
	wantError(e, "operation beside a nil one", rs[1].Err, nil)
	other := e.createOp()
	wantError(e, "Apply of a pointer to an operation", e.store.Apply(e.ctx, &other)[0].Err, state.ErrInvalid)
	e.gone(other.Target())
}

func applyMany(e *env) {
	n := 600
	ops := make([]state.Op, n)
	for i := range ops {
		ops[i] = e.createOp(func(op *state.CreateOp) { op.Record.Data = data("i", fmt.Sprint(i)) })
	}
	for i, r := range e.applyAll(ops...) {
		if r.Err != nil {
			e.Fatalf("operation %d of %d: got error %v", i, n, r.Err)
		}
	}
	for i, op := range ops {
		if i%37 != 0 {
			continue
		}
		if d := diff2JSON(e.live(op.Target()).Data["i"], fmt.Sprint(i)); d != "" {
			e.Fatalf("record %d of an Apply of %d: %s", i, n, d)
		}
	}
	if got := len(e.list(state.Query{Namespace: e.ns})); got != n {
		e.Fatalf("List after an Apply of %d Creates: got %d", n, got)
	}
}

func applyLimit(e *env) {
	var ops []state.Op
	for range 9 {
		ops = append(ops, e.createOp(user("u"), limit(state.Limit{PerUser: 4})))
	}
	evicted := map[state.Ref]int{}
	for _, r := range e.applyAll(ops...) {
		if r.Err != nil {
			e.Fatal(r.Err)
		}
		for _, ref := range endRefs(r.Ended) {
			evicted[ref]++
		}
	}
	if n := e.liveOf("u"); n != 4 || len(evicted) != 5 {
		e.Fatalf("nine Creates with a limit of 4 in one Apply: %d live and %d evicted, want 4 and 5", n, len(evicted))
	}
	for ref, n := range evicted {
		if n != 1 {
			e.Fatalf("%v was evicted %d times", ref, n)
		}
		e.gone(state.Key{Namespace: e.ns, Ref: ref})
	}
}

func applySameRef(e *env) {
	k := e.key()
	var ops []state.Op
	for i := range 5 {
		ops = append(ops, e.createOp(at(k), func(op *state.CreateOp) { op.Record.Data = data("i", fmt.Sprint(i)) }))
	}
	for i, r := range e.applyAll(ops...) {
		want := state.ErrExists
		if i == 0 {
			want = nil
		}
		wantError(e, fmt.Sprintf("Create %d of one ref in one Apply", i), r.Err, want)
	}
	if d := diff2JSON(e.live(k).Data["i"], `0`); d != "" {
		e.Fatalf("after five Creates of one ref: %s", d)
	}
}

// applyFinal checks that what was acknowledged is there, whoever reads it, and
// that results belong to the caller.
func applyFinal(e *env) {
	ops := []state.Op{e.createOp(), e.createOp(), e.createOp()}
	rs := e.applyAll(ops...)
	keep := slices.Clone(rs)
	e.parallel(8, func(i int) error {
		k := ops[i%len(ops)].Target()
		r, err := e.store.Get(e.ctx, k)
		if err != nil && e.g.Staleness == 0 {
			return fmt.Errorf("get after an acknowledged create: %w", err)
		}
		if err == nil {
			r.Data["mine"] = json.RawMessage(`1`)
		}
		return nil
	})
	e.applyAll(state.DeleteOp{Key: ops[0].Target(), Reason: state.ReasonLogout}, e.createOp())
	for i := range rs {
		if rs[i].Err != keep[i].Err || diffStamp(rs[i].Stamp, keep[i].Stamp) != "" {
			e.Fatalf("result %d changed after Apply returned", i)
		}
	}
}
