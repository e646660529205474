package tiered

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Store is a store with caches before it; see the package comment. Call
// [New]. All methods may be called by any number of goroutines.
type Store struct {
	inner     state.Store
	events    state.EventStore // nil: inner keeps none
	opts      Options
	tiers     []*tier
	storeName string
	times     timeline
	doubts    doubts

	spaces atomic.Pointer[map[string]*space] // replaced, never changed; written under mu

	mu     sync.Mutex // guards closed, and that nothing is added to tasks after it
	closed bool
	tasks  sync.WaitGroup // watches, our own and those of callers

	life context.Context // until Close
	end  context.CancelFunc

	clearing sync.Mutex // held while tiers are cleared

	closing  sync.Once
	closeErr error
}

// A tier is a cache with its name.
type tier struct {
	Tier
	name string
	// dirty is set while the cache may have copies from before a gap. It is
	// not used then. Written under Store.clearing.
	dirty atomic.Bool
}

var (
	_ state.Store      = (*Store)(nil)
	_ state.EventStore = (*Store)(nil)
)

// New puts caches before inner. The Store owns both from then on: Close closes
// them. It starts a goroutine for each namespace that is read.
func New(inner state.Store, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{inner: inner, opts: opts}
	s.life, s.end = context.WithCancel(context.Background())
	s.events, _ = inner.(state.EventStore)
	names := Names(len(opts.Tiers))
	for i, t := range opts.Tiers {
		s.tiers = append(s.tiers, &tier{Tier: t, name: names[i]})
	}
	s.storeName = names[len(names)-1]
	s.times.start(opts.Clock)
	s.doubts.start(int64(opts.Staleness))
	s.spaces.Store(&map[string]*space{})
	return s, nil
}

// Guarantees implements [state.Store]: those of the inner store, with
// [Options.Staleness] added to its staleness.
func (s *Store) Guarantees() state.Guarantees {
	g := s.inner.Guarantees()
	g.Staleness += s.opts.Staleness
	return g
}

// Unwrap returns the inner store.
func (s *Store) Unwrap() state.Store { return s.inner }

// List implements [state.Store]. It asks the inner store.
func (s *Store) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return s.inner.List(ctx, q)
}

// Close ends watches, closes the inner store, which waits for what is in
// progress, and then the caches.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.end()
		s.tasks.Wait()
		errs := []error{s.inner.Close()}
		for _, t := range s.tiers {
			if err := t.Cache.Close(); err != nil {
				errs = append(errs, fmt.Errorf("close cache %s: %w", t.name, err))
			}
		}
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}

// begin lets f run until it returns, or reports that the store is closed. f
// must end when s.life does.
func (s *Store) begin(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.tasks.Go(f)
	return true
}
