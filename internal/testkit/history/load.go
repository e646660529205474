package history

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Load is writers that update, create and delete until they are stopped, and
// what they know for certain.
type Load struct {
	t    testing.TB
	s    state.Store
	stop chan struct{}
	wg   sync.WaitGroup
	Done atomic.Int64 // acknowledged writes
	Lost atomic.Int64 // writes with an unknown outcome
	Out  atomic.Int64 // writes that were not made
	ws   []*writer
}

// A writer owns its records, so it knows what each must be.
type writer struct {
	key     state.Key
	version uint64 // acknowledged
	open    map[state.OpID]uint64
	deleted []state.Key
	doubt   map[state.Key]bool // deletes with an unknown outcome
}

// StartLoad starts so many writers, each with a record of its own.
func StartLoad(t testing.TB, s state.Store, writers int) *Load {
	t.Helper()
	l := &Load{t: t, s: s, stop: make(chan struct{})}
	for i := range writers {
		w := &writer{key: NewKey(t, byte(i*37)), version: 1, open: map[state.OpID]uint64{}, doubt: map[state.Key]bool{}}
		Do(t, s, Creation(w.key, "owner"))
		l.ws = append(l.ws, w)
		l.wg.Go(func() { l.write(w) })
	}
	return l
}

func (l *Load) write(w *writer) {
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		l.update(w, n)
		if n%4 == 0 {
			l.createAndDelete(w)
		}
	}
}

// apply makes a write with a deadline and sorts its error.
func (l *Load) apply(op state.Op) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := state.Do(ctx, l.s, op)
	switch {
	case err == nil:
		l.Done.Add(1)
	case errors.Is(err, state.ErrUnknownOutcome):
		l.Lost.Add(1)
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		l.Out.Add(1)
	case errors.Is(err, state.ErrNotFound):
		l.t.Errorf("%T: %v; an outage looks like a record that is not there", op, err)
	}
	return err
}

func (l *Load) update(w *writer, n int) {
	id := NewID()
	err := l.apply(state.UpdateOp{Key: w.key, Version: w.version, Data: Data(n), ID: id})
	switch {
	case err == nil:
		w.version++
	case errors.Is(err, state.ErrUnknownOutcome):
		l.resolve(w, id)
	case errors.Is(err, state.ErrConflict) && len(w.open) > 0:
		// One that was not there when it was looked for was still on its way.
		r, err := l.s.Get(context.Background(), w.key)
		if _, mine := w.open[r.LastOp]; err != nil || !mine || r.Version != w.version+1 {
			l.t.Errorf("a conflict with somebody else's version %d: %v", r.Version, err)
		}
		w.version = r.Version
	case errors.Is(err, state.ErrConflict):
		l.t.Errorf("update of version %d, which nobody else writes: %v", w.version, err)
	}
}

// resolve finds out what became of an update, as the Manager does: by LastOp.
func (l *Load) resolve(w *writer, id state.OpID) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		r, err := l.s.Get(ctx, w.key)
		cancel()
		switch {
		case err == nil && r.LastOp == id && r.Version == w.version+1:
			w.version++
			return
		case err == nil && r.Version == w.version:
			// Not there, but it may still be on its way: then the next
			// update will meet it.
			w.open[id] = w.version
			return
		case err == nil:
			l.t.Errorf("after an update of version %d with unknown outcome: version %d", w.version, r.Version)
			return
		case errors.Is(err, state.ErrNotFound):
			l.t.Errorf("a record is gone: %v", err)
			return
		}
		select {
		case <-l.stop:
			w.open[id] = w.version
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (l *Load) createAndDelete(w *writer) {
	key := NewKey(l.t, w.key.Ref.Routing())
	if l.apply(Creation(key, "guest")) != nil {
		return
	}
	switch err := l.apply(state.DeleteOp{Key: key, Reason: state.ReasonRevoked}); {
	case err == nil:
		w.deleted = append(w.deleted, key)
	default:
		w.doubt[key] = true
	}
}

// Finish stops the writers and checks that nothing acknowledged was lost.
func (l *Load) Finish() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	for _, w := range l.ws {
		testkit.Eventually(l.t, "read what was written", func() error {
			r, err := l.s.Get(testkit.Within(l.t, time.Second), w.key)
			if err != nil {
				return err
			}
			_, maybe := w.open[r.LastOp]
			if r.Version != w.version && !(maybe && r.Version == w.version+1) {
				l.t.Errorf("version %d was acknowledged, but %d is there", w.version, r.Version)
			}
			return nil
		})
		for _, key := range w.deleted {
			if _, err := l.s.Get(testkit.Within(l.t, 5*time.Second), key); !errors.Is(err, state.ErrNotFound) {
				l.t.Errorf("a deleted record: %v", err)
			}
		}
	}
	l.t.Logf("%d writes acknowledged, %d unknown, %d not made", l.Done.Load(), l.Lost.Load(), l.Out.Load())
}
