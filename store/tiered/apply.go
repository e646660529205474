package tiered

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// dropPatience bounds how long a write waits for a cache to be told of
	// it. Afterwards the records are in doubt in this process, and others go
	// by the watch and the age of their copies.
	dropPatience = time.Second
	// dropsAtOnce bounds how many records a shared cache is told of at once.
	dropsAtOnce = 32
)

// Apply implements [state.Store]. Before it returns, no cache has a copy that
// the writes have made old.
func (s *Store) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	results := s.inner.Apply(ctx, ops...)
	var olds []old
	for i := range results {
		if i < len(ops) {
			olds = s.learn(olds, ops[i], &results[i])
		}
	}
	s.dropAll(olds)
	return results
}

// Sweep implements [state.Store].
func (s *Store) Sweep(ctx context.Context, opts state.SweepOptions) ([]state.End, error) {
	ends, err := s.inner.Sweep(ctx, opts)
	s.dropAll(appendEnds(nil, ends))
	return ends, err
}

// An old says which copies of a record are old: those before the revision.
type old struct {
	key      state.Key
	revision uint64
}

func appendEnds(olds []old, ends []state.End) []old {
	for i := range ends {
		olds = append(olds, old{ends[i].Key, state.Ended})
	}
	return olds
}

// learn adds what is old after an operation.
func (s *Store) learn(olds []old, op state.Op, r *state.Result) []old {
	switch err := r.Err; {
	case err == nil:
		switch op.(type) {
		case state.CreateOp, state.ImportOp: // there was nothing before
		case state.DeleteOp:
			olds = append(olds, old{op.Target(), state.Ended})
		default:
			olds = append(olds, old{op.Target(), r.Stamp.Revision})
		}
		return appendEnds(olds, r.Ended)
	case errors.Is(err, state.ErrUnknownOutcome),
		// The caller knows something else than what is stored. Perhaps it
		// has that from us; it must not have it again.
		errors.Is(err, state.ErrConflict),
		errors.Is(err, state.ErrFenced),
		errors.Is(err, state.ErrNotFound):
		s.doubts.raise(op.Target(), s.times.now())
	}
	return olds
}

// drop drops the copies of one record that are older than the revision.
func (s *Store) drop(key state.Key, revision uint64) { s.dropAll([]old{{key, revision}}) }

// dropAll drops old copies, those in the last tier first: else one could be
// read there and given to a tier before that was told already. The caller's
// context has no say, since the write has happened.
func (s *Store) dropAll(olds []old) {
	if len(olds) == 0 {
		return
	}
	for i := len(s.tiers) - 1; i >= 0; i-- {
		if t := s.tiers[i]; t.Shared {
			s.dropShared(t, olds)
		} else {
			s.dropLocal(t, olds)
		}
	}
}

func (s *Store) dropLocal(t *tier, olds []old) {
	for _, o := range olds {
		s.dropped(t, o, t.Cache.Invalidate(context.Background(), o.key, o.revision))
	}
}

// dropShared does as dropLocal for a cache that it takes time to reach.
func (s *Store) dropShared(t *tier, olds []old) {
	ctx, cancel := context.WithTimeout(context.Background(), dropPatience)
	defer cancel()
	if len(olds) == 1 {
		s.dropped(t, olds[0], t.Cache.Invalidate(ctx, olds[0].key, olds[0].revision))
		return
	}
	var wg sync.WaitGroup
	places := make(chan struct{}, dropsAtOnce)
	for _, o := range olds {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			s.dropped(t, o, t.Cache.Invalidate(ctx, o.key, o.revision))
		})
	}
	wg.Wait()
}

func (s *Store) dropped(t *tier, o old, err error) {
	if err == nil || errors.Is(err, state.ErrClosed) {
		return
	}
	s.doubts.raise(o.key, s.times.now())
	s.opts.OnError(t.name, err)
}
