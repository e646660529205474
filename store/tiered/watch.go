package tiered

import (
	"context"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Watch implements [state.Store]. Whoever was told of a change does not get an
// older copy from a cache of this process afterwards.
func (s *Store) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	changes, err := s.inner.Watch(ctx, opts)
	if err != nil {
		return nil, err
	}
	out := make(chan state.Change)
	if !s.begin(func() { s.relay(ctx, changes, out) }) {
		return nil, state.ErrClosed
	}
	return out, nil
}

// relay passes changes on. What a slow watcher leaves unread waits in the store
// below, which makes a Gap of it if it is too much.
func (s *Store) relay(ctx context.Context, changes <-chan state.Change, out chan<- state.Change) {
	defer close(out)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.life.Done():
			return
		case c, ok := <-changes:
			if !ok {
				return
			}
			s.follow(c, false)
			select {
			case out <- c:
			case <-ctx.Done():
				return
			case <-s.life.Done():
				return
			}
		}
	}
}
