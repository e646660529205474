package statetest

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// readMutations are stores that break what is promised of Get, List and Sweep.
func readMutations() []mutation {
	return []mutation{
		{"CachesWithoutInvalidation", cachesForever, []string{
			"Delete/EndsARecord", "Get/NeverReturnsExpired", "Update/RaisesVersionByOne", "History/IsLinearizable", "Race/DeletedStaysGone",
			"Race/UpdatesAreNeverLost",
		}},
		{"CachesPastTheDeadline", cachesExpired, []string{"Get/ExpiresAtTheDeadline", "Model/RandomOperations", "History/IsLinearizableAcrossExpiry"}},
		{"ServesStaleCopies", servesStale, []string{"History/IsLinearizable", "Race/RevisionNeverFalls"}},
		{"SharesItsMaps", sharesMaps, []string{"Get/BelongsToTheCaller"}},
		{"ForgetsTombstones", forgetsTombstones, []string{"Delete/IsRemembered", "Get/SaysHowARecordExpired", "Model/RandomOperations"}},
		{"ReturnsThePreviousSecretForever", previousForever, []string{"Rotate/ForgetsThePreviousAfterGrace", "Rotate/CountsGraceByTheStoresClock"}},
		byList("ListsBackward", func(rs []state.Record) { slices.Reverse(rs) }, "List/OrdersByRef", "List/Pages"),
		{"ListsByOffset", func() *mutant { return &mutant{list: listsByOffset} }, []string{"List/YieldsEachStandingRecordOnce"}},
		byQuery("IncludesCreatedBefore", func(q *state.Query) {
			if !q.CreatedBefore.IsZero() {
				q.CreatedBefore = q.CreatedBefore.Add(1)
			}
		}, "List/FiltersLikeMatch"),
		byQuery("CutsTimesOfQueries", func(q *state.Query) { q.CreatedFrom = q.CreatedFrom.Truncate(time.Millisecond) }, "List/FiltersLikeMatch"),
		byQuery("FoldsUsersOfQueries", func(q *state.Query) {
			if q.User != nil && *q.User == "ANN" {
				folded := "ann"
				q.User = &folded
			}
		}, "List/FiltersLikeMatch"),
		byQuery("TakesAnonymousForAll", func(q *state.Query) {
			if q.User != nil && *q.User == "" {
				q.User = nil
			}
		}, "List/FiltersLikeMatch", "Model/RandomOperations"),
		byQuery("IgnoresMax", func(q *state.Query) { q.Max = 0 }, "List/StopsAtMax", "Model/RandomOperations"),
		byQuery("IgnoresAfter", func(q *state.Query) { q.After = state.Ref{} }, "List/GoesOnAfterARef", "Model/RandomOperations"),
		byQuery("ConfoundsNamespaces", func(q *state.Query) { q.Namespace = strings.TrimRight(q.Namespace, "-_.") }, "List/SeparatesNamespaces", "Hostile/Names"),
		byQuery("ShowsSystemKinds", func(q *state.Query) {
			if q.Kind == "" {
				q.Kind = "_node"
			}
		}, "List/HidesSystemKinds"),
		{"SweepsTwice", sweepsTwice, []string{"Sweep/EndsTheExpired", "Sweep/ReturnsEachExpiredOnce", "Race/EndingIsCountedOnce", "Model/RandomOperations"}},
		{"SweepsSilently", func() *mutant { return &mutant{sweep: sweepsSilently} }, []string{"Sweep/EndsTheExpired", "Sweep/EndsAtMostMax", "Race/EndingIsCountedOnce"}},
		{"NeverForgets", neverForgets, []string{"Delete/IsForgottenBySweepAfterADay", "Sweep/ForgetsTombstones"}},
		{"SweepsAllKinds", func() *mutant {
			return &mutant{sweep: func(ctx context.Context, s state.Store, o state.SweepOptions) ([]state.End, error) {
				o.Kind = ""
				return s.Sweep(ctx, o)
			}}
		}, []string{"Sweep/SelectsByKind"}},
	}
}

func byQuery(name string, change func(*state.Query), caught ...string) mutation {
	return mutation{name, func() *mutant {
		return &mutant{list: func(ctx context.Context, s state.Store, q state.Query) iter.Seq2[state.Record, error] {
			change(&q)
			return s.List(ctx, q)
		}}
	}, caught}
}

func all(ctx context.Context, s state.Store, q state.Query) (rs []state.Record, err error) {
	for r, err := range s.List(ctx, q) {
		if err != nil {
			return rs, err
		}
		rs = append(rs, r)
	}
	return rs, nil
}

func byList(name string, change func([]state.Record), caught ...string) mutation {
	return mutation{name, func() *mutant {
		return &mutant{list: func(ctx context.Context, s state.Store, q state.Query) iter.Seq2[state.Record, error] {
			return func(yield func(state.Record, error) bool) {
				rs, err := all(ctx, s, q)
				change(rs)
				for _, r := range rs {
					if !yield(r, nil) {
						return
					}
				}
				if err != nil {
					yield(state.Record{}, err)
				}
			}
		}}
	}, caught}
}

// listsByOffset reads each page from the start and skips what it had.
func listsByOffset(ctx context.Context, s state.Store, q state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		for offset := 0; ; offset += 10 {
			rs, err := all(ctx, s, q)
			if err != nil {
				yield(state.Record{}, err)
				return
			}
			if offset >= len(rs) {
				return
			}
			for _, r := range rs[offset:min(offset+10, len(rs))] {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// A memo keeps copies by key.
type memo struct {
	mu   sync.Mutex
	recs map[state.Key]state.Record
}

func newMemo() *memo { return &memo{recs: map[state.Key]state.Record{}} }

func (m *memo) get(k state.Key) (state.Record, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.recs[k]
	return r, ok
}

func (m *memo) put(r state.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recs[r.Key()] = r
}

func cachesForever() *mutant {
	m := newMemo()
	return &mutant{get: func(ctx context.Context, s state.Store, k state.Key) (state.Record, error) {
		if r, ok := m.get(k); ok {
			return r.Clone(), nil
		}
		r, err := s.Get(ctx, k)
		if err == nil {
			m.put(r.Clone())
		}
		return r, err
	}}
}

// cachesExpired asks the store, but does not believe that a record expired.
func cachesExpired() *mutant {
	m := newMemo()
	return &mutant{get: func(ctx context.Context, s state.Store, k state.Key) (state.Record, error) {
		r, err := s.Get(ctx, k)
		if err == nil {
			m.put(r.Clone())
			return r, nil
		}
		var nf *state.NotFoundError
		if old, ok := m.get(k); ok && errors.As(err, &nf) && nf.End != nil && nf.End.By == "" && nf.End.Reason != state.ReasonLogout {
			return old.Clone(), nil
		}
		return r, err
	}}
}

// servesStale answers every seventh Get with what it read first.
func servesStale() *mutant {
	m, n := newMemo(), 0
	var mu sync.Mutex
	return &mutant{get: func(ctx context.Context, s state.Store, k state.Key) (state.Record, error) {
		mu.Lock()
		n++
		stale := n%7 == 0
		mu.Unlock()
		if r, ok := m.get(k); ok && stale {
			return r.Clone(), nil
		}
		r, err := s.Get(ctx, k)
		if _, ok := m.get(k); err == nil && !ok {
			m.put(r.Clone())
		}
		return r, err
	}}
}

// sharesMaps returns the same map as long as the record does not change.
func sharesMaps() *mutant {
	m := newMemo()
	return &mutant{get: func(ctx context.Context, s state.Store, k state.Key) (state.Record, error) {
		r, err := s.Get(ctx, k)
		if old, ok := m.get(k); ok && err == nil && old.Revision == r.Revision {
			return old, nil
		}
		if err == nil {
			m.put(r)
		}
		return r, err
	}}
}

func forgetsTombstones() *mutant {
	return &mutant{get: func(ctx context.Context, s state.Store, k state.Key) (state.Record, error) {
		r, err := s.Get(ctx, k)
		if errors.Is(err, state.ErrNotFound) {
			err = state.ErrNotFound
		}
		return r, err
	}}
}

func previousForever() *mutant {
	m := newMemo()
	return &mutant{get: func(ctx context.Context, s state.Store, k state.Key) (state.Record, error) {
		r, err := s.Get(ctx, k)
		if err != nil {
			return r, err
		}
		if old, ok := m.get(k); ok && old.Secret.Hash != r.Secret.Hash && r.Secret.Previous.IsZero() {
			r.Secret.Previous, r.Secret.PreviousUntil = old.Secret.Hash, r.Created
		} else if !ok {
			m.put(r.Clone())
		}
		return r, nil
	}}
}

func sweepsTwice() *mutant {
	var mu sync.Mutex
	var last []state.End
	return &mutant{sweep: func(ctx context.Context, s state.Store, o state.SweepOptions) ([]state.End, error) {
		ends, err := s.Sweep(ctx, o)
		mu.Lock()
		defer mu.Unlock()
		again := last
		last = slices.Clone(ends)
		return append(slices.Clone(again), ends...)[:min(len(again)+len(ends), o.Limit())], err
	}}
}

// sweepsSilently ends some records without saying so.
func sweepsSilently(ctx context.Context, s state.Store, o state.SweepOptions) ([]state.End, error) {
	ends, err := s.Sweep(ctx, o)
	if len(ends) > 1 {
		ends = ends[1:]
	}
	return ends, err
}

func neverForgets() *mutant {
	gone := newMemo()
	return &mutant{
		one: func(ctx context.Context, s state.Store, op state.Op) state.Result {
			if _, ok := op.(state.CreateOp); ok {
				if _, ok := gone.get(op.Target()); ok {
					return state.Result{Err: state.ErrExists}
				}
			}
			return plain(ctx, s, op)
		},
		get: func(ctx context.Context, s state.Store, k state.Key) (state.Record, error) {
			r, err := s.Get(ctx, k)
			var nf *state.NotFoundError
			if errors.As(err, &nf) && nf.End != nil {
				gone.put(state.Record{Namespace: k.Namespace, Ref: k.Ref, Data: map[string]json.RawMessage{}})
			}
			return r, err
		},
	}
}
