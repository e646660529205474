package sqlite

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// watchBuffer is how many changes a watcher may leave unread before they are
// replaced by a gap.
const watchBuffer = 256

// A watcher is one call of Watch. All but cancelled belongs to the hub.
type watcher struct {
	namespace string
	beat      time.Duration
	out       chan state.Change
	from      int64     // changes up to this position are from before the watch
	spoken    time.Time // when it was last sent something
	gap       bool      // it must be told of a gap before anything else

	cancelled atomic.Bool
	detach    func() bool // stops the hub being told of the context's end
}

// Watch implements [state.Store]. Changes of this process are reported at once,
// those of others within [pollInterval].
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
		beat:      opts.Interval(),
		out:       make(chan state.Change, watchBuffer),
		spoken:    time.Now(),
	}
	if err := s.hub.add(ctx, w); err != nil {
		return nil, s.readFailure(ctx, "watch", err)
	}
	return w.out, nil
}

// deliver tells the watcher of a change at a position.
func (w *watcher) deliver(ch *change, now time.Time) {
	report, ok := ch.report()
	if !ok || ch.pos <= w.from || ch.Key.Namespace != w.namespace {
		return
	}
	if w.gap && !w.send(state.Change{Type: state.Gap}, now) {
		return // it will see the gap instead
	}
	w.gap = !w.send(report, now)
}

// tick says what is to be said though nothing happened.
func (w *watcher) tick(now time.Time) {
	if w.gap {
		w.gap = !w.send(state.Change{Type: state.Gap}, now)
		return
	}
	// Half the interval, so that being late by a tick does no harm.
	if now.Sub(w.spoken) >= w.beat/2 {
		w.send(state.Change{Type: state.Beat}, now)
	}
}

// send never blocks; it reports whether there was room.
func (w *watcher) send(ch state.Change, now time.Time) bool {
	select {
	case w.out <- ch:
		w.spoken = now
		return true
	default:
		return false
	}
}
