package statetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// The helpers here are the verbs that the checks are written in.

func wantError(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: got error %v, want %v", what, got, want)
	}
}

// delete ends a live record and returns its End.
func (e *env) delete(k state.Key) state.End {
	e.Helper()
	r := e.must(state.DeleteOp{Key: k, Reason: state.ReasonLogout})
	if len(r.Ended) != 1 {
		e.Fatalf("Delete of a live record: got %d ends, want 1", len(r.Ended))
	}
	return r.Ended[0]
}

// update replaces data of the record if it still has its version.
func (e *env) update(r state.Record, value string) state.Result {
	e.Helper()
	return e.must(state.UpdateOp{Key: r.Key(), Version: r.Version, Data: data("v", value)})
}

// sweepAll sweeps until there is nothing left and returns what was ended.
func (e *env) sweepAll(o state.SweepOptions) []state.End {
	e.Helper()
	var all []state.End
	for range 10_000 {
		ends, err := e.store.Sweep(e.ctx, o)
		if err != nil {
			e.Fatalf("Sweep: %v", err)
		}
		if len(ends) > o.Limit() {
			e.Fatalf("Sweep of at most %d: got %d ends", o.Limit(), len(ends))
		}
		all = append(all, ends...)
		if len(ends) < o.Limit() {
			return all
		}
	}
	e.Fatal("Sweep: still finds expired records after 10000 calls")
	return nil
}

// list returns what List yields; the query must succeed.
func (e *env) list(q state.Query) []state.Record {
	e.Helper()
	rs, err := e.listErr(q)
	if err != nil {
		e.Fatalf("List: got error %v, want none", err)
	}
	return rs
}

// listErr returns what List yields up to its error, which must come last.
func (e *env) listErr(q state.Query) ([]state.Record, error) {
	e.Helper()
	var rs []state.Record
	var failed error
	for r, err := range e.store.List(e.ctx, q) {
		switch {
		case failed != nil:
			e.Fatalf("List: went on after it yielded the error %v", failed)
		case err != nil:
			failed = err
		case r.Namespace != q.Namespace:
			e.Fatalf("List of namespace %q: got a record of %q", q.Namespace, r.Namespace)
		case len(rs) > 0 && rs[len(rs)-1].Ref.Compare(r.Ref) >= 0:
			e.Fatalf("List: got ref %v after %v, want the order of refs", r.Ref, rs[len(rs)-1].Ref)
		default:
			rs = append(rs, r)
		}
	}
	return rs, failed
}

func refsOf(rs []state.Record) []state.Ref {
	refs := make([]state.Ref, len(rs))
	for i := range rs {
		refs[i] = rs[i].Ref
	}
	return refs
}

// everyOp returns one operation of each kind that needs a record at k.
func everyOp(k state.Key, version uint64) []state.Op {
	return []state.Op{
		state.UpdateOp{Key: k, Version: version, Data: data("late", `true`), ID: newOpID()},
		state.TouchOp{Key: k, Idle: longLife},
		state.ExtendOp{Key: k, For: longLife, Max: 10 * longLife},
		state.SetOwnerOp{Key: k, Owner: "replica"},
	}
}

// parallel runs n functions at once and ends the check with the first error.
func (e *env) parallel(n int, run func(i int) error) {
	e.Helper()
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = run(i)
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		e.Fatal(err)
	}
}

// among reports an error that is none of those that the caller may expect.
func among(what string, err error, allowed ...error) error {
	if err == nil {
		return nil
	}
	for _, a := range allowed {
		if errors.Is(err, a) {
			return nil
		}
	}
	return fmt.Errorf("%s: got error %w, want none or one of %v", what, err, allowed)
}
