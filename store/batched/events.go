package batched

import (
	"context"
	"iter"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Events are not collected: an Append is a durable step with a result of its
// own kind.

func errNoEvents() error { return &state.UnsupportedError{Field: "event: it keeps none"} }

// Append implements [state.EventStore]; [state.ErrUnsupported] if the inner
// store is none. So do the others.
func (s *Store) Append(ctx context.Context, key state.Key, epoch uint64, appends ...state.EventAppend) error {
	if s.events == nil {
		return errNoEvents()
	}
	return s.events.Append(ctx, key, epoch, appends...)
}

// Read implements [state.EventStore].
func (s *Store) Read(ctx context.Context, key state.Key, stream string, from int64) iter.Seq2[[]byte, error] {
	if s.events == nil {
		return func(yield func([]byte, error) bool) { yield(nil, errNoEvents()) }
	}
	return s.events.Read(ctx, key, stream, from)
}

// Tail implements [state.EventStore].
func (s *Store) Tail(ctx context.Context, key state.Key, stream string) (first, next int64, err error) {
	if s.events == nil {
		return 0, 0, errNoEvents()
	}
	return s.events.Tail(ctx, key, stream)
}

// Trim implements [state.EventStore].
func (s *Store) Trim(ctx context.Context, key state.Key, keep state.EventBounds) error {
	if s.events == nil {
		return errNoEvents()
	}
	return s.events.Trim(ctx, key, keep)
}
