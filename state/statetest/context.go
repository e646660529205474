package statetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func contextChecks() []check {
	return []check{
		{"CancelledBeforeFailsEverything", contextCancelled, 0},
		{"OverdueBeforeFailsEverything", contextOverdue, 0},
		{"CancelledAtAnyMomentTellsTheTruth", contextFuse, 0},
		{"CancelledMeanwhileTellsTheTruth", contextMeanwhile, 0},
		{"CancelledMeanwhileSpoilsNoOther", contextOthers, 0},
		{"CancelledWhileListing", contextListing, 0},
	}
}

func contextCancelled(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	e.failsWith(ctx, context.Canceled)
}

func contextOverdue(e *env) {
	ctx, cancel := context.WithDeadline(e.ctx, time.Now().Add(-time.Second))
	defer cancel()
	e.failsWith(ctx, context.DeadlineExceeded)
}

// failsWith checks that nothing happens under a context that is done.
func (e *env) failsWith(ctx context.Context, want error) {
	e.Helper()
	r := e.create()
	e.createExpired(1)
	ops := append(everyOp(r.Key(), 1), e.createOp(), state.ImportOp{Record: e.exported()},
		state.DeleteOp{Key: r.Key(), Reason: state.ReasonLogout})
	results := e.store.Apply(ctx, ops...)
	if len(results) != len(ops) {
		e.Fatalf("Apply of %d operations with a context that is done: got %d results", len(ops), len(results))
	}
	for i, res := range results {
		wantError(e, fmt.Sprintf("%T with a context that is done", ops[i]), res.Err, want)
		if errors.Is(res.Err, state.ErrUnknownOutcome) || errors.Is(res.Err, state.ErrNotFound) {
			e.Fatalf("%T with a context that is done: got %v; nothing was sent, and that is known", ops[i], res.Err)
		}
	}
	_, err := e.store.Get(ctx, r.Key())
	wantError(e, "Get with a context that is done", err, want)
	if errors.Is(err, state.ErrNotFound) {
		e.Fatal("Get with a context that is done: says not found")
	}
	ends, err := e.store.Sweep(ctx, state.SweepOptions{Namespace: e.ns})
	wantError(e, "Sweep with a context that is done", err, want)
	if len(ends) != 0 {
		e.Fatal("Sweep with a context that is done: ended something")
	}
	e.readsFailWith(ctx, want)
	if d := diff(e.live(r.Key()), r); d != "" {
		e.Fatalf("operations with a context that is done changed the record: %s", d)
	}
	if n := len(e.list(state.Query{Namespace: e.ns})); n != 1 {
		e.Fatalf("operations with a context that is done: %d records are live, want 1", n)
	}
	if n := len(e.sweepAll(state.SweepOptions{Namespace: e.ns})); n != 1 {
		e.Fatalf("Sweep after one with a context that is done: got %d ends, want 1", n)
	}
}

func (e *env) readsFailWith(ctx context.Context, want error) {
	e.Helper()
	yielded := 0
	var err error
	for _, err = range e.store.List(ctx, state.Query{Namespace: e.ns}) {
		yielded++
	}
	wantError(e, "List with a context that is done", err, want)
	if yielded != 1 {
		e.Fatalf("List with a context that is done: yielded %d times, want the error alone", yielded)
	}
	ch, err := e.store.Watch(ctx, state.WatchOptions{Namespace: e.ns})
	wantError(e, "Watch with a context that is done", err, want)
	if ch != nil {
		e.Fatal("Watch with a context that is done: returned a channel")
	}
}

// A fuse is a context that is cancelled when it has been looked at often
// enough: so it ends at each of the points at which a store looks.
type fuse struct {
	context.Context
	burn   context.CancelFunc
	length atomic.Int64
}

func newFuse(ctx context.Context, length int) *fuse {
	f := &fuse{}
	f.Context, f.burn = context.WithCancel(ctx)
	f.length.Store(int64(length))
	return f
}

func (f *fuse) Err() error {
	f.look()
	return f.Context.Err()
}

func (f *fuse) Done() <-chan struct{} {
	f.look()
	return f.Context.Done()
}

func (f *fuse) look() {
	if f.length.Add(-1) < 0 {
		f.burn()
	}
}

// contextFuse cancels at every moment at which the store looks at the context.
func contextFuse(e *env) {
	for length := range 40 {
		f := newFuse(e.ctx, length)
		op := e.createOp(lean)
		e.told(op, e.store.Apply(f, op)[0].Err)
		f.burn()

		r := e.create(lean)
		f = newFuse(e.ctx, length)
		res := e.store.Apply(f, state.DeleteOp{Key: r.Key(), Reason: state.ReasonLogout, ID: newOpID()})[0]
		f.burn()
		_, err := e.store.Get(e.ctx, r.Key())
		switch {
		case res.Err == nil && (len(res.Ended) != 1 || err == nil && e.g.Staleness == 0):
			e.Fatalf("a Delete that succeeded although its context was cancelled: %d ended, and Get says %v", len(res.Ended), err)
		case res.Err != nil && !errors.Is(res.Err, state.ErrUnknownOutcome) && err != nil:
			e.Fatalf("a Delete that failed with %v: the record is gone; the outcome was not known", res.Err)
		}
	}
}

// contextMeanwhile cancels writers at any moment and compares what they were
// told with what is there: a nil error means written, the context's error
// alone not written, and an unknown outcome can be found out by LastOp.
func contextMeanwhile(e *env) {
	const writers, each = 6, 40
	for round := range e.rounds(12) {
		ctx, cancel := context.WithCancel(e.ctx)
		ops := make([][]state.Op, writers)
		results := make([][]state.Result, writers)
		var wg sync.WaitGroup
		for i := range ops {
			for range each {
				ops[i] = append(ops[i], e.createOp(lean))
			}
			// One writer is shorter and cancels in the middle of what the
			// others do.
			mine := ops[i]
			if i == round%writers {
				mine = mine[:1+round]
			}
			wg.Go(func() {
				results[i] = e.store.Apply(ctx, mine...)
				if i == round%writers {
					cancel()
				}
			})
		}
		wg.Wait()
		cancel()
		for i := range ops {
			for j, r := range results[i] {
				e.told(ops[i][j].(state.CreateOp), r.Err)
			}
		}
	}
}

// told compares what the caller of a Create was told with what is there.
func (e *env) told(op state.CreateOp, err error) {
	e.Helper()
	switch {
	case err == nil:
		if r := e.live(op.Target()); r.LastOp != op.ID {
			e.Fatal("a Create that succeeded although its context was cancelled: LastOp is not its ID")
		}
	case errors.Is(err, state.ErrUnknownOutcome):
		if !errors.Is(err, context.Canceled) {
			e.Fatalf("a Create whose context was cancelled: got %v, want %v wrapped with %v", err, state.ErrUnknownOutcome, context.Canceled)
		}
		// It may or may not be there, but it must be whole.
		if r, err := e.store.Get(e.ctx, op.Target()); err == nil && r.LastOp != op.ID {
			e.Fatal("a Create with unknown outcome happened, but LastOp is not its ID")
		}
	case errors.Is(err, context.Canceled):
		e.gone(op.Target())
	default:
		e.Fatalf("a Create whose context was cancelled: got %v, want none, %v or %v", err, context.Canceled, state.ErrUnknownOutcome)
	}
}

// contextOthers checks that a caller who gives up does not fail those whose
// writes happen to travel with its own.
func contextOthers(e *env) {
	for range 10 {
		ctx, cancel := context.WithCancel(e.ctx)
		e.parallel(8, func(i int) error {
			if i%2 == 0 {
				e.store.Apply(ctx, e.createOp(lean))
				cancel()
				return nil
			}
			op := e.createOp(lean)
			if r := e.store.Apply(e.ctx, op)[0]; r.Err != nil {
				return fmt.Errorf("create beside one that was cancelled: %w", r.Err)
			}
			_, err := e.store.Get(e.ctx, op.Target())
			if err != nil && e.g.Staleness == 0 {
				return fmt.Errorf("get after a create beside one that was cancelled: %w", err)
			}
			return nil
		})
		cancel()
	}
}

func contextListing(e *env) {
	refs := e.populate(400)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	n := 0
	for _, err := range e.store.List(ctx, state.Query{Namespace: e.ns}) {
		if err != nil {
			wantError(e, "List whose context is cancelled meanwhile", err, context.Canceled)
			continue
		}
		if n++; n == 3 {
			cancel()
		}
	}
	if n > len(refs) {
		e.Fatalf("List whose context is cancelled meanwhile: yielded %d of %d records", n, len(refs))
	}
	if got := len(e.list(state.Query{Namespace: e.ns})); got != len(refs) {
		e.Fatalf("List after one that was cancelled: got %d records, want %d", got, len(refs))
	}
}
