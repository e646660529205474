package sqlite

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// maxQueue is how many callers may wait for the writer before others
	// wait for a place, in the order in which they came.
	maxQueue = 1024
	// maxGroup bounds the operations of one transaction, and so how long the
	// first of them waits for the last.
	maxGroup = 512
	// maxTask bounds the operations of one task, so that a caller with many
	// does not keep others waiting.
	maxTask = 128
	// patience is how long a caller whose context has ended waits for the
	// result of what was already begun.
	patience = 2 * time.Second
)

// The writer is the only one in this process that writes. It commits what
// callers want at the same time in one transaction, so that they share the
// cost of waiting for the disk.
type writer struct {
	store *Store
	conn  *conn // used by run alone, once that has started
	queue chan *task
	quit  chan struct{} // closed to stop run; nobody waits for a task any more
	ended chan struct{} // closed by run; nil if it was never started

	group []*task // the tasks of the current transaction
}

func newWriter(s *Store, c *conn) *writer {
	return &writer{store: s, conn: c, queue: make(chan *task, maxQueue), quit: make(chan struct{})}
}

func (w *writer) start() {
	w.ended = make(chan struct{})
	go w.run()
}

func (w *writer) stop() {
	if w.ended == nil {
		return
	}
	close(w.quit)
	<-w.ended
}

func (w *writer) run() {
	defer close(w.ended)
	for {
		select {
		case t := <-w.queue:
			w.gather(t)
			w.commitGroup()
		case <-w.quit:
			return
		}
	}
}

// gather collects what waits already. Callers whose last write was just
// committed are about to come back with the next one: they get a moment to do
// so, as long as it brings somebody.
func (w *writer) gather(first *task) {
	clear(w.group)
	w.group = append(w.group[:0], first)
	size := first.size()
	for idle := 0; idle < 2 && size < w.store.opts.groupLimit; {
		select {
		case t := <-w.queue:
			w.group = append(w.group, t)
			size += t.size()
			idle = 0
		default:
			runtime.Gosched()
			idle++
		}
	}
}

// submit has the task done. If it returns nil the task is done and has its
// results; else nothing was written, or it is unknown what was.
func (w *writer) submit(ctx context.Context, t *task) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case w.queue <- t:
	default:
		select {
		case w.queue <- t:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
	}
	if t.withdraw() {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(w.store.opts.patience)
	defer timer.Stop()
	select {
	case <-t.done:
		return nil
	case <-timer.C:
		return errors.Join(state.ErrUnknownOutcome, context.Cause(ctx))
	}
}

// commitGroup does the tasks of the group in one transaction, and tells their
// callers.
func (w *writer) commitGroup() {
	x, err := w.begin()
	if err != nil {
		err = w.store.failure("begin to write", err)
		for _, t := range w.group {
			if t.take() {
				t.fail(err)
				close(t.done)
			}
		}
		return
	}
	taken := w.group[:0]
	for _, t := range w.group {
		if t.take() {
			taken = append(taken, t)
		}
	}
	clear(w.group[len(taken):])
	w.group = taken
	defer func() {
		for _, t := range w.group {
			close(t.done)
		}
	}()
	err = w.runAll(x)
	if err == nil {
		err = w.commit(x)
		if err == nil {
			return
		}
		if !isFull(err) {
			w.failAll(err)
			return
		}
	}
	w.rollback()
	w.isolate()
}

func (w *writer) runAll(x *tx) error {
	for _, t := range w.group {
		if err := t.run(x); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) failAll(err error) {
	for _, t := range w.group {
		t.fail(err)
	}
}

// isolate does each operation in a transaction of its own, after one of them
// has failed all: for only that one shall fail.
func (w *writer) isolate() {
	for _, t := range w.group {
		if t.do != nil {
			t.err = w.alone(t.do)
			continue
		}
		for i := range t.ops {
			if err := w.alone(func(x *tx) error { return t.runOne(x, i) }); err != nil {
				t.results[i] = state.Result{Err: err}
			}
		}
	}
}

// alone does f in a transaction of its own.
func (w *writer) alone(f func(*tx) error) error {
	x, err := w.begin()
	if err != nil {
		return w.store.failure("begin to write", err)
	}
	if err := f(x); err != nil {
		w.rollback()
		return w.store.failure("write", err)
	}
	return w.commit(x)
}
