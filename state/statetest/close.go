package statetest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func closeChecks() []check {
	return []check{
		{"IsIdempotent", closeTwice, freshStore},
		{"FailsEverythingWithErrClosed", closeFails, freshStore},
		{"EndsWatches", closeWatches, freshStore},
		{"EndsWatchesThatNobodyReads", closeFullWatches, freshStore},
		{"WaitsForOperations", closeWaits, freshStore},
		{"KeepsItsGuarantees", closeGuarantees, freshStore},
	}
}

func (e *env) close() {
	e.Helper()
	if err := e.store.Close(); err != nil {
		e.Fatalf("Close: %v", err)
	}
}

func closeTwice(e *env) {
	e.create()
	e.close()
	e.close()
	e.parallel(4, func(int) error { return e.store.Close() })
}

func closeFails(e *env) {
	r := e.create()
	ops := append(everyOp(r.Key(), 1), e.createOp(), state.ImportOp{Record: e.exported()},
		state.DeleteOp{Key: r.Key(), Reason: state.ReasonLogout})
	e.close()
	for i, res := range e.store.Apply(e.ctx, ops...) {
		e.isClosed(fmt.Sprintf("%T", ops[i]), res.Err)
	}
	_, err := e.store.Get(e.ctx, r.Key())
	e.isClosed("Get", err)
	_, err = e.store.Sweep(e.ctx, state.SweepOptions{Namespace: e.ns})
	e.isClosed("Sweep", err)
	ch, err := e.store.Watch(e.ctx, state.WatchOptions{Namespace: e.ns})
	e.isClosed("Watch", err)
	if ch != nil {
		e.Fatal("Watch on a closed store returned a channel")
	}
	rs, err := e.listErr(state.Query{Namespace: e.ns})
	e.isClosed("List", err)
	if len(rs) != 0 {
		e.Fatal("List on a closed store yielded records")
	}
}

func (e *env) isClosed(what string, err error) {
	e.Helper()
	wantError(e, what+" on a closed store", err, state.ErrClosed)
	if errors.Is(err, state.ErrNotFound) {
		e.Fatalf("%s on a closed store: says not found", what)
	}
}

func closeWatches(e *env) {
	one, two := e.watch(), e.watch()
	e.marker()
	e.close()
	one.closed("the store was closed")
	two.closed("the store was closed")
	one.stop()
	two.stop()
}

func closeFullWatches(e *env) {
	w := e.watch()
	e.populate(800)
	e.close()
	w.closed("the store was closed")
	w.stop()
}

// closeWaits closes the store while it is busy: every operation is either done
// or ErrClosed, nothing hangs and nothing panics.
func closeWaits(e *env) {
	seed := e.create()
	var wg sync.WaitGroup
	began := make(chan struct{}, 64)
	errs := make([]error, 12)
	for i := range errs {
		wg.Go(func() { errs[i] = e.busy(i, seed.Key(), began) })
	}
	for range 48 { // all sorts of operations are under way
		<-began
	}
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- e.store.Close() }()
	}
	wg.Wait()
	for range 2 {
		if err := <-closed; err != nil {
			e.Errorf("Close while the store is busy: %v", err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		e.Fatal(err)
	}
}

// busy uses the store until it is closed and returns any other error.
func (e *env) busy(i int, k state.Key, began chan<- struct{}) error {
	for {
		var err error
		switch i % 4 {
		case 0:
			err = e.store.Apply(e.ctx, e.createOp(lean))[0].Err
		case 1:
			_, err = e.store.Get(e.ctx, k)
		case 2:
			for _, err = range e.store.List(e.ctx, state.Query{Namespace: e.ns, Max: 20}) {
				if err != nil {
					break
				}
			}
		case 3:
			_, err = e.store.Sweep(e.ctx, state.SweepOptions{Namespace: e.ns})
		}
		select {
		case began <- struct{}{}:
		default:
		}
		if errors.Is(err, state.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("while the store is closed: %w", err)
		}
	}
}

func closeGuarantees(e *env) {
	before := e.store.Guarantees()
	if before != e.g {
		e.Fatalf("Guarantees changed while the store is open: from %+v to %+v", e.g, before)
	}
	e.close()
	e.store.Guarantees() // must not panic
}
