package statetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func listChecks() []check {
	return []check{
		{"YieldsWhatGetReturns", listContent, 0},
		{"OrdersByRef", listOrder, 0},
		{"SeparatesNamespaces", listNamespaces, 0},
		{"HidesSystemKinds", listSystem, 0},
		{"FiltersLikeMatch", listFilters, 0},
		{"FiltersExpired", listExpired, 0},
		{"GoesOnAfterARef", listAfter, 0},
		{"StopsAtMax", listMax, 0},
		{"Pages", listPages, 0},
		{"CanBeLeftEarly", listBreak, 0},
		{"AllowsCallsMeanwhile", listNested, 0},
		{"YieldsEachStandingRecordOnce", listChurn, 0},
		{"RefusesInvalid", listInvalid, 0},
	}
}

// populate creates n records and returns them in the order of their refs.
func (e *env) populate(n int, mods ...func(*state.CreateOp)) []state.Ref {
	e.Helper()
	refs := make([]state.Ref, 0, n)
	for chunk := range slices.Chunk(make([]struct{}, n), 200) {
		ops := make([]state.Op, len(chunk))
		for i := range ops {
			op := e.createOp(append([]func(*state.CreateOp){lean}, mods...)...)
			ops[i], refs = op, append(refs, op.Record.Ref)
		}
		for _, r := range e.applyAll(ops...) {
			if r.Err != nil {
				e.Fatal(r.Err)
			}
		}
	}
	slices.SortFunc(refs, state.Ref.Compare)
	return refs
}

// lean takes the content out of a record.
func lean(op *state.CreateOp) { op.Record.Meta, op.Record.Data = state.Metadata{}, nil }

func listContent(e *env) {
	want := map[state.Ref]state.Record{}
	for range 3 {
		r := e.create()
		e.must(state.SetOwnerOp{Key: r.Key(), Owner: "one"})
		r = e.rotate(r, longLife)
		want[r.Ref] = r
	}
	got := e.list(state.Query{Namespace: e.ns})
	if len(got) != len(want) {
		e.Fatalf("List: got %d records, want %d", len(got), len(want))
	}
	for i := range got {
		if err := e.shape(&got[i]); err != nil {
			e.Fatalf("List: %v", err)
		}
		if d := diff(got[i], want[got[i].Ref]); d != "" {
			e.Fatalf("List yields something else than Get: %s", d)
		}
	}
}

func listOrder(e *env) {
	want := e.populate(50)
	// Refs that a comparison of signed bytes, or of text in some locale,
	// would put elsewhere.
	for _, b := range [][17]byte{{0: 0x7f}, {0: 0x80}, {0: 0xff, 16: 1}, {0: 0xff, 16: 0xff}, {16: 1}, {0: 0x80, 16: 0x80}} {
		ref, err := state.RefFromBytes(b[:])
		if err != nil {
			e.Fatal(err)
		}
		e.create(at(state.Key{Namespace: e.ns, Ref: ref}), lean)
		want = append(want, ref)
	}
	slices.SortFunc(want, state.Ref.Compare)
	if got := refsOf(e.list(state.Query{Namespace: e.ns})); !slices.Equal(got, want) {
		e.Fatalf("List: got %d refs that are not the %d created, in order", len(got), len(want))
	}
}

func listNamespaces(e *env) {
	r := e.create()
	for _, ns := range []string{e.ns + "x", e.ns[:len(e.ns)-1], e.ns + "-", e.ns + ".", e.ns + "_", "_" + e.ns} {
		if n := len(e.list(state.Query{Namespace: ns})); n != 0 {
			e.Fatalf("List of namespace %q yields %d records of %q", ns, n, e.ns)
		}
		e.gone(state.Key{Namespace: ns, Ref: r.Ref})
	}
}

func listSystem(e *env) {
	e.create(ofKind("_node"))
	e.create(ofKind("session"))
	e.create(ofKind("node"))
	for kind, want := range map[string]int{"": 2, "_node": 1, "session": 1, "node": 1, "absent": 0, "_": 0, "s": 0} {
		if n := len(e.list(state.Query{Namespace: e.ns, Kind: kind})); n != want {
			e.Fatalf("List of kind %q: got %d records, want %d", kind, n, want)
		}
	}
}

func listExpired(e *env) {
	live := e.create()
	made := e.createExpired(3)
	deleted := e.create()
	e.delete(deleted.Key())
	got := e.list(state.Query{Namespace: e.ns, Expired: true})
	if len(got) != len(made) {
		e.Fatalf("List of expired records: got %d, want %d", len(got), len(made))
	}
	for _, r := range got {
		want, ok := made[r.Ref]
		if !ok || r.User != want.Record.User || !sameJSON(r.Data["basket"], want.Record.Data["basket"]) {
			e.Fatalf("List of expired records: %v is none, or has other content", r.Ref)
		}
	}
	if got := refsOf(e.list(state.Query{Namespace: e.ns})); !slices.Equal(got, []state.Ref{live.Ref}) {
		e.Fatalf("List beside expired records: got %d, want the live one", len(got))
	}
}

func listAfter(e *env) {
	refs := e.populate(20)
	for i, ref := range refs {
		got := refsOf(e.list(state.Query{Namespace: e.ns, After: ref}))
		if !slices.Equal(got, refs[i+1:]) {
			e.Fatalf("List after record %d of %d: got %d refs, want the %d behind it", i+1, len(refs), len(got), len(refs)-i-1)
		}
	}
	// After need not name a record that exists.
	e.must(state.DeleteOp{Key: state.Key{Namespace: e.ns, Ref: refs[7]}, Reason: state.ReasonLogout})
	got := refsOf(e.list(state.Query{Namespace: e.ns, After: refs[7]}))
	if !slices.Equal(got, refs[8:]) {
		e.Fatalf("List after the ref of a deleted record: got %d refs, want the %d behind it", len(got), len(refs)-8)
	}
}

func listMax(e *env) {
	refs := e.populate(10)
	for _, limit := range []int{1, 3, 9, 10, 11, 0} {
		want := refs
		if limit > 0 && limit < len(refs) {
			want = refs[:limit]
		}
		if got := refsOf(e.list(state.Query{Namespace: e.ns, Max: limit})); !slices.Equal(got, want) {
			e.Fatalf("List of at most %d of %d: got %d", limit, len(refs), len(got))
		}
	}
	// Max counts what matches, not what is looked at.
	want := e.populate(3, ofKind("basket"))
	if got := refsOf(e.list(state.Query{Namespace: e.ns, Kind: "basket", Max: 2})); !slices.Equal(got, want[:2]) {
		e.Fatalf("List of at most 2 of one kind: got %d", len(got))
	}
}

func listPages(e *env) {
	n := 1500
	if testing.Short() {
		n = 600
	}
	want := e.populate(n)
	if got := refsOf(e.list(state.Query{Namespace: e.ns})); !slices.Equal(got, want) {
		e.Fatalf("List of %d records: got %d, or in another order", n, len(got))
	}
	var got []state.Ref
	q := state.Query{Namespace: e.ns, Max: 97}
	for {
		page := refsOf(e.list(q))
		got = append(got, page...)
		if len(page) < q.Max {
			break
		}
		q.After = page[len(page)-1]
	}
	if !slices.Equal(got, want) {
		e.Fatalf("List of %d records, 97 at a time: got %d, or in another order", n, len(got))
	}
}

func listBreak(e *env) {
	e.populate(10)
	for range 100 { // whatever an iteration holds must be given back
		for _, err := range e.store.List(e.ctx, state.Query{Namespace: e.ns}) {
			if err != nil {
				e.Fatal(err)
			}
			break
		}
	}
	if n := len(e.list(state.Query{Namespace: e.ns})); n != 10 {
		e.Fatalf("List after a hundred that were left early: got %d records, want 10", n)
	}
	r := e.create()
	e.update(r, `1`)
}

func listNested(e *env) {
	refs := e.populate(12)
	seen := 0
	for r, err := range e.store.List(e.ctx, state.Query{Namespace: e.ns}) {
		if err != nil {
			e.Fatalf("List while its caller writes: %v", err)
		}
		seen++
		e.live(r.Key())
		e.update(r, `"seen"`)
		if seen == 1 {
			if n := len(e.list(state.Query{Namespace: e.ns})); n != len(refs) {
				e.Fatalf("List within a List: got %d records, want %d", n, len(refs))
			}
		}
		if seen%3 == 0 {
			e.delete(r.Key())
		}
	}
	if seen != len(refs) {
		e.Fatalf("List whose caller updates and deletes what it has seen: got %d records, want %d", seen, len(refs))
	}
}

// listChurn lists while other records come and go, and while the standing ones
// change.
func listChurn(e *env) {
	standing := e.populate(300)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	churnErr := make([]error, 3)
	for i := range churnErr {
		wg.Go(func() { churnErr[i] = e.churn(stop, standing) })
	}
	for range 10 {
		seen := map[state.Ref]int{}
		rs, err := e.listErr(state.Query{Namespace: e.ns})
		if err != nil {
			e.Errorf("List while records come and go: %v", err)
			break
		}
		for _, r := range rs {
			seen[r.Ref]++ // listErr has checked the order, which rules out doubles
		}
		for _, ref := range standing {
			if seen[ref] != 1 {
				e.Errorf("List while records come and go: %v, which was there throughout, was yielded %d times", ref, seen[ref])
			}
		}
	}
	close(stop)
	wg.Wait()
	for _, err := range churnErr {
		if err != nil {
			e.Error(err)
		}
	}
}

// churn creates and deletes records and touches the standing ones until stop
// is closed.
func (e *env) churn(stop <-chan struct{}, standing []state.Ref) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		op := e.createOp(lean)
		for _, op := range []state.Op{
			op,
			state.TouchOp{Key: state.Key{Namespace: e.ns, Ref: standing[i%len(standing)]}, Idle: longLife},
			state.DeleteOp{Key: op.Target(), Reason: state.ReasonLogout},
		} {
			if r := e.store.Apply(e.ctx, op)[0]; r.Err != nil {
				return fmt.Errorf("%T while others list: %w", op, r.Err)
			}
		}
	}
}

func listInvalid(e *env) {
	e.create()
	for _, q := range []state.Query{{}, {Namespace: "Not A Name"}, {Namespace: e.ns, Kind: "Not A Kind"}} {
		rs, err := e.listErr(q)
		wantError(e, fmt.Sprintf("List of namespace %q and kind %q", q.Namespace, q.Kind), err, state.ErrInvalid)
		if len(rs) != 0 {
			e.Fatal("List with an invalid query yielded records")
		}
	}
}
