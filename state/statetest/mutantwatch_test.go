package statetest

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// watchMutations are stores that break what is promised of Watch.
func watchMutations() []mutation {
	n := 0
	return []mutation{
		byChange("DropsChanges", func(c state.Change) []state.Change {
			if n++; c.Type == state.Updated && n%2 == 0 {
				return nil
			}
			return []state.Change{c}
		}, "Watch/KeepsTheOrderOfARecord"),
		byChange("DropsDeletes", func(c state.Change) []state.Change {
			if c.Type == state.Deleted {
				return nil
			}
			return []state.Change{c}
		}, "Watch/ReportsChanges"),
		byChange("NeverBeats", func(c state.Change) []state.Change {
			if c.Type == state.Beat {
				return nil
			}
			return []state.Change{c}
		}, "Watch/Beats"),
		byChange("OnlyGaps", func(c state.Change) []state.Change {
			if c.Type == state.Beat {
				return []state.Change{c}
			}
			return []state.Change{{Type: state.Gap}}
		}, "Watch/ReportsChanges", "Watch/ServesSeveralWatchers", "Watch/SlowWatcherBlocksNoWriter"),
		byChange("RepeatsChanges", func(c state.Change) []state.Change { return []state.Change{c, c} }, "Watch/ReportsChanges"),
		byChange("ForgetsRevisions", func(c state.Change) []state.Change {
			c.Revision = 0
			return []state.Change{c}
		}, "Watch/ReportsChanges"),
		byChange("ForgetsWhoDidIt", func(c state.Change) []state.Change {
			c.By = ""
			return []state.Change{c}
		}, "Watch/ReportsChanges", "Watch/ReportsEvictionAndExpiry"),
		{"ReportsTouches", reportsTouches, []string{"Watch/ReportsNoTouches"}},
		{"BlocksWriters", blocksWriters, []string{"Watch/SlowWatcherBlocksNoWriter"}},
		{"NeverClosesWatches", neverCloses, []string{"Watch/EndsWithItsContext", "Close/EndsWatches"}},
	}
}

// byChange passes what a watch reports through a function.
func byChange(name string, change func(state.Change) []state.Change, caught ...string) mutation {
	return mutation{name, func() *mutant {
		return &mutant{watch: func(ctx context.Context, s state.Store, o state.WatchOptions) (<-chan state.Change, error) {
			in, err := s.Watch(ctx, o)
			if err != nil {
				return nil, err
			}
			out := make(chan state.Change)
			go func() {
				defer close(out)
				for c := range in {
					for _, c := range change(c) {
						select {
						case out <- c:
						case <-ctx.Done():
						}
					}
				}
			}()
			return out, nil
		}}
	}, caught}
}

// A hall has channels into which more can be said.
type hall struct {
	mu   sync.Mutex
	outs map[chan state.Change]context.Context
}

// watch copies what the store reports into a channel of the hall. The channel
// is never closed: those who use it find out otherwise when to stop.
func (h *hall) watch(ctx context.Context, s state.Store, o state.WatchOptions) (<-chan state.Change, error) {
	in, err := s.Watch(ctx, o)
	if err != nil {
		return nil, err
	}
	out := make(chan state.Change, 64) // more than any check needs that uses say
	h.mu.Lock()
	h.outs[out] = ctx
	h.mu.Unlock()
	go func() {
		for c := range in {
			select {
			case out <- c:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

func (h *hall) say(c state.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for out, ctx := range h.outs {
		select {
		case out <- c:
		case <-ctx.Done():
			delete(h.outs, out)
		}
	}
}

func reportsTouches() *mutant {
	h := &hall{outs: map[chan state.Change]context.Context{}}
	return &mutant{watch: h.watch, one: func(ctx context.Context, s state.Store, op state.Op) state.Result {
		res := plain(ctx, s, op)
		if t, ok := op.(state.TouchOp); ok && res.Err == nil {
			h.say(state.Change{Type: state.Updated, Key: t.Key, Kind: kind, Version: res.Stamp.Version, Revision: res.Stamp.Revision})
		}
		return res
	}}
}

// blocksWriters lets every writer wait for every watcher.
func blocksWriters() *mutant {
	h := &hall{outs: map[chan state.Change]context.Context{}}
	return &mutant{watch: h.watch, one: func(ctx context.Context, s state.Store, op state.Op) state.Result {
		h.mu.Lock()
		defer h.mu.Unlock()
		for out, watching := range h.outs {
			select {
			case out <- state.Change{Type: state.Gap}:
			case <-watching.Done():
			case <-ctx.Done():
				return state.Result{Err: ctx.Err()}
			}
		}
		return plain(ctx, s, op)
	}}
}

func neverCloses() *mutant {
	h := &hall{outs: map[chan state.Change]context.Context{}}
	return &mutant{watch: h.watch}
}

// lifeMutations are stores that break what is promised of contexts and Close.
func lifeMutations() []mutation {
	return []mutation{
		{"IgnoresContexts", func() *mutant {
			return &mutant{one: func(ctx context.Context, s state.Store, op state.Op) state.Result {
				return plain(context.WithoutCancel(ctx), s, op)
			}}
		}, []string{"Context/CancelledBeforeFailsEverything", "Context/OverdueBeforeFailsEverything"}},
		{"TakesAnOutageForAbsence", outageIsAbsence, []string{"Context/CancelledBeforeFailsEverything", "Close/FailsEverythingWithErrClosed"}},
		{"DoesNotKnowWhatItDid", func() *mutant {
			return &mutant{one: func(ctx context.Context, s state.Store, op state.Op) state.Result {
				res := plain(ctx, s, op)
				if ctx.Err() != nil {
					res.Err = ctx.Err()
				}
				return res
			}}
		}, []string{"Context/CancelledAtAnyMomentTellsTheTruth"}},
		{"ClosesOnlyOnce", closesOnce, []string{"Close/IsIdempotent"}},
		{"NeverCloses", func() *mutant {
			return &mutant{close: func(state.Store) error { return nil }}
		}, []string{"Close/FailsEverythingWithErrClosed", "Close/EndsWatches"}},
		{"SaysUnavailableWhenClosed", func() *mutant {
			return &mutant{one: func(ctx context.Context, s state.Store, op state.Op) state.Result {
				res := plain(ctx, s, op)
				if errors.Is(res.Err, state.ErrClosed) {
					res.Err = state.ErrUnavailable
				}
				return res
			}}
		}, []string{"Close/FailsEverythingWithErrClosed", "Close/WaitsForOperations"}},
		{"ListsNothingWhenClosed", func() *mutant {
			return &mutant{list: func(ctx context.Context, s state.Store, q state.Query) iter.Seq2[state.Record, error] {
				return func(yield func(state.Record, error) bool) {
					for r, err := range s.List(ctx, q) {
						if err != nil || !yield(r, err) {
							return
						}
					}
				}
			}}
		}, []string{"Close/FailsEverythingWithErrClosed", "Context/CancelledBeforeFailsEverything", "List/RefusesInvalid"}},
	}
}

func outageIsAbsence() *mutant {
	return &mutant{get: func(ctx context.Context, s state.Store, k state.Key) (state.Record, error) {
		r, err := s.Get(ctx, k)
		if errors.Is(err, state.ErrClosed) || errors.Is(err, context.Canceled) {
			err = state.ErrNotFound
		}
		return r, err
	}}
}

func closesOnce() *mutant {
	var mu sync.Mutex
	closed := false
	return &mutant{close: func(s state.Store) error {
		mu.Lock()
		defer mu.Unlock()
		if closed {
			return errors.New("closed twice")
		}
		closed = true
		return s.Close()
	}}
}
