package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// watchBuffer bounds the changes that wait for a slow watcher. More of them
// become a Gap.
const watchBuffer = 1024

// A watcher takes changes from writers, who never wait, to its channel.
type watcher struct {
	out  chan state.Change
	wake chan struct{} // holds one token while there may be something to take

	mu      sync.Mutex // guards all below
	gap     bool       // changes before those in pending were lost
	pending []state.Change
}

// Watch implements [state.Store]. Each watch has a goroutine, which ends with
// the context or the store; Close waits for it.
func (s *Store) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := state.CheckName("namespace", opts.Namespace); err != nil {
		return nil, err
	}
	// No write is half done while the gate is held: whatever is acknowledged
	// after Watch returns finds the watcher.
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.closed.Load() {
		return nil, state.ErrClosed
	}
	w := &watcher{out: make(chan state.Change), wake: make(chan struct{}, 1)}
	sp := s.space(opts.Namespace)
	sp.addWatcher(w)
	s.pumps.Go(func() {
		defer close(w.out)
		defer sp.removeWatcher(w)
		w.pump(ctx, s.done, opts.Interval())
	})
	return w.out, nil
}

func (sp *space) addWatcher(w *watcher) {
	sp.watchMu.Lock()
	defer sp.watchMu.Unlock()
	var list []*watcher
	if old := sp.watchers.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = append(list, w)
	sp.watchers.Store(&list)
}

func (sp *space) removeWatcher(w *watcher) {
	sp.watchMu.Lock()
	defer sp.watchMu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*sp.watchers.Load()), func(x *watcher) bool { return x == w })
	if len(list) == 0 {
		sp.watchers.Store(nil)
		return
	}
	sp.watchers.Store(&list)
}

// publish reports a change. The shard of its record is locked, so that changes
// of one record keep their order.
func (sp *space) publish(c state.Change) {
	list := sp.watchers.Load()
	if list == nil {
		return
	}
	for _, w := range *list {
		w.put(c)
	}
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
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// next takes the next change.
func (w *watcher) next() (state.Change, bool) {
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
func (w *watcher) pump(ctx context.Context, done <-chan struct{}, interval time.Duration) {
	beat := max(interval/2, time.Millisecond)
	timer := time.NewTimer(beat)
	defer timer.Stop()
	for {
		c, ok := w.next()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-done:
				return
			case <-w.wake:
				continue
			case <-timer.C:
				c = state.Change{Type: state.Beat}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-done:
			return
		case w.out <- c:
		}
		timer.Reset(beat)
	}
}
