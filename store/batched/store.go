package batched

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Store collects writes; see the package comment. Call [New]. All methods may
// be called by any number of goroutines.
type Store struct {
	inner  state.Store
	events state.EventStore // nil: inner keeps none
	opts   Options
	behind *behind // nil: no write-behind

	groups, operations atomic.Uint64

	mu      sync.Mutex // guards what follows, and what behind says it guards
	closed  bool
	senders int                // who have a group on its way, or are about to
	sent    map[state.Key]bool // the refs of what is on its way
	queue   []*call            // waiting, in the order in which they came
	queued  int                // operations in queue
	began   time.Time          // when the last group began
	under   int                // calls on their way
	around  int                // calls there are: the most that were here of late
	wanted  int                // calls in queue that somebody waits for; 0: nobody does

	turn  chan struct{}  // held by who waits for calls and takes a group
	wake  chan struct{}  // holds a token when nobody shall wait for more
	calls sync.WaitGroup // callers, and the goroutines that send groups

	closing  sync.Once
	closeErr error
}

var (
	_ state.Store      = (*Store)(nil)
	_ state.EventStore = (*Store)(nil)
)

// New collects the writes to inner. The Store owns it from then on: Close
// closes it. Goroutines run while groups are sent and, with write-behind, one
// until Close.
func New(inner state.Store, opts Options) *Store {
	s := &Store{
		inner: inner, opts: opts.withDefaults(), sent: make(map[state.Key]bool),
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	s.events, _ = inner.(state.EventStore)
	if s.opts.WriteBehind != nil {
		s.behind = newBehind(s)
	}
	return s
}

// Apply implements [state.Store].
func (s *Store) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	if err := ctx.Err(); err != nil {
		return failed(len(ops), err)
	}
	if s.behind != nil && onlyTouches(ops) {
		return s.behind.touch(ctx, ops)
	}
	return s.write(ctx, ops)
}

// write has the operations stored.
func (s *Store) write(ctx context.Context, ops []state.Op) []state.Result {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return failed(len(ops), state.ErrClosed)
	}
	s.calls.Add(1)
	defer s.calls.Done()
	if s.behind == nil {
		return s.submit(ctx, ops)
	}
	first := s.behind.take(ops)
	results := s.submit(ctx, append(touchOps(first), ops...))
	s.behind.settle(first, results[:len(first)])
	return results[len(first):]
}

// Get implements [state.Store].
func (s *Store) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if s.behind == nil {
		return s.inner.Get(ctx, key)
	}
	touched := s.behind.waiting(key)
	r, err := s.inner.Get(ctx, key)
	if err == nil {
		touched.show(&r)
	}
	return r, err
}

// List implements [state.Store].
func (s *Store) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return s.inner.List(ctx, q)
}

// Watch implements [state.Store].
func (s *Store) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	return s.inner.Watch(ctx, opts)
}

// Sweep implements [state.Store]. Touches that were answered are stored first,
// lest it end what is in use.
func (s *Store) Sweep(ctx context.Context, opts state.SweepOptions) ([]state.End, error) {
	if s.behind != nil && ctx.Err() == nil && s.accept() {
		s.behind.flush(ctx)
		s.calls.Done()
	}
	return s.inner.Sweep(ctx, opts)
}

// Unwrap returns the inner store.
func (s *Store) Unwrap() state.Store { return s.inner }

// Guarantees implements [state.Store]: those of the inner store, less what
// [WriteBehind] says.
func (s *Store) Guarantees() state.Guarantees {
	g := s.inner.Guarantees()
	if s.behind != nil {
		g.Staleness += 2 * s.opts.WriteBehind.Interval
		g.Durability = state.Volatile
	}
	return g
}

// Stats returns what was counted.
func (s *Store) Stats() Stats {
	st := Stats{Groups: s.groups.Load(), Operations: s.operations.Load()}
	if s.behind != nil {
		s.behind.count(&st)
	}
	return st
}

// Close waits until all that was accepted is stored, and closes the inner
// store.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.hurry()
		if s.behind != nil {
			s.behind.stop()
		}
		s.calls.Wait()
		if s.behind != nil {
			s.behind.storeRest()
		}
		s.closeErr = s.inner.Close()
	})
	return s.closeErr
}

// accept lets a caller in, for whom Close then waits until calls.Done.
func (s *Store) accept() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.calls.Add(1)
	return true
}

func failed(n int, err error) []state.Result {
	results := make([]state.Result, n)
	for i := range results {
		results[i].Err = err
	}
	return results
}
