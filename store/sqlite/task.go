package sqlite

import (
	"sync/atomic"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A task is what one caller wants written. It is either a list of operations or
// a function.
type task struct {
	ops     []state.Op // checked
	results []state.Result

	// do may be run again if its transaction was rolled back. Whatever it
	// gives its caller it must set anew each time.
	do  func(*tx) error
	err error // of do

	// status decides between a caller who gives up and the writer who begins.
	status atomic.Int32
	done   chan struct{} // closed by the writer; only then is the rest read
}

const (
	taskQueued int32 = iota
	taskTaken
	taskWithdrawn
)

func newTask(ops []state.Op) *task {
	return &task{ops: ops, results: make([]state.Result, len(ops)), done: make(chan struct{})}
}

func newJob(do func(*tx) error) *task { return &task{do: do, done: make(chan struct{})} }

// take reports whether the caller still waits; then it cannot give up any more.
func (t *task) take() bool { return t.status.CompareAndSwap(taskQueued, taskTaken) }

// withdraw reports whether the writer has not begun, and never will.
func (t *task) withdraw() bool { return t.status.CompareAndSwap(taskQueued, taskWithdrawn) }

// run does everything that the task wants. An error is of the database, and
// the transaction has to be rolled back.
func (t *task) run(x *tx) error {
	if t.do != nil {
		return t.do(x)
	}
	for i := range t.ops {
		if err := t.runOne(x, i); err != nil {
			return err
		}
	}
	return nil
}

func (t *task) runOne(x *tx, i int) error {
	r, err := x.apply(t.ops[i])
	if err == nil {
		t.results[i] = r
	}
	return err
}

// fail gives the whole task an error.
func (t *task) fail(err error) {
	t.err = err
	for i := range t.results {
		t.results[i] = state.Result{Err: err}
	}
}

// size is a measure of the work.
func (t *task) size() int { return max(1, len(t.ops)) }
