package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// watchBuffer bounds the changes that wait for a slow watcher. More of them
// become a Gap.
const watchBuffer = 4096

// Watch implements [state.Store]. All watches of a store share one connection
// that listens; while it is lost, a watch reports a Gap instead of a Beat, and
// one more when it is back. The connection is not of the pool.
func (s *Store) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	if err := state.CheckName("namespace", opts.Namespace); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	w := &watcher{
		namespace: opts.Namespace,
		interval:  opts.Interval(),
		out:       make(chan state.Change),
		wake:      make(chan struct{}, 1),
	}
	if err := s.hub.add(ctx, w); err != nil {
		return nil, err
	}
	s.hub.pumps.Go(func() {
		defer close(w.out)
		defer s.hub.remove(w)
		w.pump(ctx, s.hub)
	})
	return w.out, nil
}

// A watcher takes changes from the listener, which never waits, to its channel.
type watcher struct {
	namespace string
	interval  time.Duration // between beats, at most
	out       chan state.Change
	wake      chan struct{} // holds one token while there may be something to take

	mu      sync.Mutex // guards all below
	gap     bool       // changes before those in pending were lost
	pending []state.Change
}

func (w *watcher) put(c state.Change) {
	w.mu.Lock()
	if c.Type == state.Gap || len(w.pending) == watchBuffer {
		// The Gap stands for what waits, too.
		w.pending, w.gap = w.pending[:0], true
	} else {
		w.pending = append(w.pending, c)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take takes the next change.
func (w *watcher) take() (state.Change, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gap {
		w.gap = false
		return state.Change{Type: state.Gap}, true
	}
	if len(w.pending) == 0 {
		return state.Change{}, false
	}
	c := w.pending[0]
	w.pending = w.pending[1:]
	return c, true
}

// pump sends changes, and beats while there are none. It beats twice as often
// as promised, since timers are late.
func (w *watcher) pump(ctx context.Context, h *hub) {
	beat := max(w.interval/2, time.Millisecond)
	timer := time.NewTimer(beat)
	defer timer.Stop()
	for {
		c, ok := w.take()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-h.ctx.Done():
				return
			case <-w.wake:
				continue
			case <-timer.C:
				c = state.Change{Type: h.sign(w.interval)}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-h.ctx.Done():
			return
		case w.out <- c:
		}
		timer.Reset(beat)
	}
}
