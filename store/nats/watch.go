package nats

import (
	"context"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// watchBuffer bounds the changes that wait for a slow watcher. More of them
// become a Gap.
const watchBuffer = 1024

// watchAhead is how many of them the watcher's channel holds, so that it and its
// reader need not take turns.
const watchAhead = 64

// A watcher takes changes from the hub, which never waits, to its channel.
type watcher struct {
	out       chan state.Change
	wake      chan struct{} // holds one token while there may be something to take
	interval  time.Duration // of beats
	namespace string
	floors    []uint64 // changes up to these numbers were before the watch

	mu      sync.Mutex // guards all below
	gap     bool       // changes before those in pending were lost
	beat    bool       // the hub has lately heard from the server
	pending []state.Change
	last    time.Time // when it was last sent something
}

// Watch implements [state.Store]. All watches share one subscription, to what
// the streams publish again of each message, without its content. The numbers
// of a stream's messages have no holes: one that is left out, or that the
// leader knows of and that does not come, is a Gap. A Beat says that all leaders
// have answered and no change is owed for long.
func (s *Store) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	if err := state.CheckName("namespace", opts.Namespace); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	w := &watcher{
		out: make(chan state.Change, watchAhead), wake: make(chan struct{}, 1),
		namespace: opts.Namespace, interval: opts.Interval(), last: time.Now(),
	}
	h, err := s.join(ctx, w)
	if err != nil {
		return nil, err
	}
	s.pumps.Go(func() {
		defer close(w.out)
		defer h.leave(w)
		w.pump(ctx, s.ctx.Done())
	})
	return w.out, nil
}

func (w *watcher) put(c state.Change) {
	w.mu.Lock()
	if len(w.pending) < watchBuffer {
		w.pending = append(w.pending, c)
	} else {
		// The Gap stands for c too.
		w.pending, w.gap = w.pending[:0], true
	}
	w.mu.Unlock()
	w.signal()
}

// putGap says that changes were lost; those that wait are void too.
func (w *watcher) putGap() {
	w.mu.Lock()
	w.pending, w.gap = w.pending[:0], true
	w.mu.Unlock()
	w.signal()
}

// putBeat says that the server was heard from.
func (w *watcher) putBeat() {
	w.mu.Lock()
	// Twice as often as promised, since timers are late.
	due := time.Since(w.last) >= w.interval/2
	w.beat = w.beat || due
	w.mu.Unlock()
	if due {
		w.signal()
	}
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// next takes what there is to be sent, in room that was taken before.
func (w *watcher) next(room []state.Change) []state.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(room) > 0 {
		w.last = time.Now()
	}
	beat := w.beat
	w.beat = false
	changes := room[:0]
	if w.gap {
		w.gap = false
		changes = append(changes, state.Change{Type: state.Gap})
	}
	changes, w.pending = append(changes, w.pending...), w.pending[:0]
	if len(changes) == 0 && beat {
		changes = append(changes, state.Change{Type: state.Beat})
	}
	return changes
}

// pump sends changes until the context is done or the store is closed.
func (w *watcher) pump(ctx context.Context, closed <-chan struct{}) {
	var changes []state.Change
	for {
		if changes = w.next(changes); len(changes) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-closed:
				return
			case <-w.wake:
				continue
			}
		}
		for _, c := range changes {
			select {
			case <-ctx.Done():
				return
			case <-closed:
				return
			case w.out <- c:
			}
		}
	}
}
