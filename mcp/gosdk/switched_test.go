package gosdk

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// switched is the store as one replica reaches it, or does not: then it looks
// as an outage does.
type switched struct {
	*memory.Store
	cut     atomic.Bool
	written atomic.Int64 // operations that arrived, but for heartbeats
	reads   atomic.Int64
	held    atomic.Pointer[hold] // nil: reads are not held up
}

// A hold keeps reads waiting.
type hold struct {
	arrived, over chan struct{} // the first is sent each that waits
}

func (s *switched) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if s.cut.Load() {
		return state.Record{}, state.ErrUnavailable
	}
	s.reads.Add(1)
	if h := s.held.Load(); h != nil {
		h.arrived <- struct{}{}
		<-h.over
	}
	return s.Store.Get(ctx, key)
}

func (s *switched) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	if s.cut.Load() {
		out := make([]state.Result, len(ops))
		for i := range out {
			out[i].Err = state.ErrUnavailable
		}
		return out
	}
	for _, op := range ops {
		if _, beat := op.(state.ExtendOp); !beat {
			s.written.Add(1)
		}
	}
	return s.Store.Apply(ctx, ops...)
}

func (s *switched) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	if s.cut.Load() {
		return func(yield func(state.Record, error) bool) { yield(state.Record{}, state.ErrUnavailable) }
	}
	return s.Store.List(ctx, q)
}

func (s *switched) Append(ctx context.Context, key state.Key, epoch uint64, appends ...state.EventAppend) error {
	if s.cut.Load() {
		return state.ErrUnavailable
	}
	return s.Store.Append(ctx, key, epoch, appends...)
}

func (s *switched) Tail(ctx context.Context, key state.Key, stream string) (first, next int64, err error) {
	if s.cut.Load() {
		return 0, 0, state.ErrUnavailable
	}
	return s.Store.Tail(ctx, key, stream)
}

func (s *switched) Trim(ctx context.Context, key state.Key, keep state.EventBounds) error {
	if s.cut.Load() {
		return state.ErrUnavailable
	}
	return s.Store.Trim(ctx, key, keep)
}

// Watch says nothing while the replica is cut off.
func (s *switched) Watch(ctx context.Context, opts state.WatchOptions) (<-chan state.Change, error) {
	if s.cut.Load() {
		return nil, state.ErrUnavailable
	}
	in, err := s.Store.Watch(ctx, opts)
	if err != nil {
		return nil, err
	}
	out := make(chan state.Change)
	go func() {
		defer close(out)
		for c := range in {
			if s.cut.Load() {
				continue
			}
			select {
			case out <- c:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}
