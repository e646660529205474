package redis

import (
	"context"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/internal/outlet"
)

// Watch implements [state.Store]. All watches of a namespace share one
// connection and one goroutine, and each has one of its own; Close waits for
// them. Changes come by publication, numbered per tag: a number that is left
// out, or that the server knows of and that does not come, is a Gap, and so is
// every new connection. A Beat says that the numbers have been compared.
func (s *Store) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	if err := state.CheckName("namespace", opts.Namespace); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	w := outlet.New(opts.Interval())
	h, err := s.join(ctx, opts.Namespace, w)
	if err != nil {
		return nil, err
	}
	s.pumps.Go(func() {
		defer h.leave(w)
		w.Run(ctx, s.ctx.Done())
	})
	return w.Changes(), nil
}
