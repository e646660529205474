package nats

import (
	"context"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/internal/outlet"
)

// A watcher hears the changes of one namespace.
type watcher struct {
	*outlet.Outlet
	namespace string
	floors    []uint64 // changes up to these numbers were before the watch
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
	w := &watcher{Outlet: outlet.New(opts.Interval()), namespace: opts.Namespace}
	h, err := s.join(ctx, w)
	if err != nil {
		return nil, err
	}
	s.pumps.Go(func() {
		defer h.leave(w)
		w.Run(ctx, s.ctx.Done())
	})
	return w.Changes(), nil
}
