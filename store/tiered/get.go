package tiered

import (
	"context"
	"errors"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Get implements [state.Store]. It returns the first copy that is young enough
// and beyond doubt, or asks the store and fills the caches.
func (s *Store) Get(ctx context.Context, key state.Key) (state.Record, error) {
	sp := s.space(key.Namespace)
	if sp == nil || !sp.healthy.Load() {
		return s.getBelow(ctx, key)
	}
	var m misses
	for i, t := range s.tiers {
		if t.dirty.Load() {
			continue
		}
		r, there, err := t.Cache.Get(ctx, key)
		if err != nil {
			s.failed(t, err)
			continue
		}
		now := s.times.now()
		if sp.silent(now, s.opts.Beat) {
			return s.getBelow(ctx, key)
		}
		if there {
			m.old = true
			if s.present(ctx, &r, &m, i, now) {
				s.opts.OnLookup(t.name, true)
				return r, nil
			}
		}
		s.opts.OnLookup(t.name, false)
		// From here on the record is read below: whatever changes it after
		// that is noticed by the generation or the revision.
		m.add(ctx, s, i)
	}
	return s.getAndFill(ctx, key, &m)
}

// misses are the tiers that a Get has asked in vain.
type misses struct {
	generations [MaxTiers]uint64
	asked       [MaxTiers]bool
	any         bool
	old         bool // there was a copy that could not be returned
}

func (m *misses) add(ctx context.Context, s *Store, i int) {
	t := s.tiers[i]
	generation, err := t.Cache.Generation(ctx)
	if err != nil {
		s.failed(t, err)
		return
	}
	m.generations[i], m.asked[i], m.any = generation, true, true
}

// present makes of a copy found in tier i what the store would return, and
// gives it to the tiers before. It reports whether the copy may be returned.
func (s *Store) present(ctx context.Context, r *state.Record, m *misses, i int, now instant) bool {
	read, storeNow, ok := s.times.found(r, s.tiers[i].Shared, now)
	if !ok || !s.young(r, now.at-read.at, now) || read.expiry <= storeNow || !secretCounts(&r.Secret, storeNow) {
		return false
	}
	if m.any {
		s.fill(ctx, read, m, i)
	}
	r.Remaining = time.Duration(read.expiry - storeNow)
	return true
}

// young reports whether a copy of that age may be returned.
func (s *Store) young(r *state.Record, age int64, now instant) bool {
	return age >= 0 && age < int64(s.opts.Staleness) && !s.doubts.concern(r.Namespace, r.Ref, age, now)
}

// secretCounts reports whether all that the secret has still counts.
func secretCounts(secret *state.Secret, storeNow int64) bool {
	return secret.Previous.IsZero() || secret.PreviousUntil.UnixNano() > storeNow
}

// getBelow asks the store and leaves the caches alone.
func (s *Store) getBelow(ctx context.Context, key state.Key) (state.Record, error) {
	r, err := s.inner.Get(ctx, key)
	s.count(err)
	return r, err
}

// count tells whether the store had the record. An outage is neither.
func (s *Store) count(err error) {
	switch {
	case err == nil:
		s.opts.OnLookup(s.storeName, true)
	case errors.Is(err, state.ErrNotFound):
		s.opts.OnLookup(s.storeName, false)
	}
}

// getAndFill asks the store and gives what it returns to the tiers that missed.
func (s *Store) getAndFill(ctx context.Context, key state.Key, m *misses) (state.Record, error) {
	began := s.times.now()
	r, err := s.inner.Get(ctx, key)
	s.count(err)
	if err == nil {
		if read, ok := s.times.read(&r, began, s.times.now()); ok {
			s.fill(ctx, read, m, len(s.tiers))
		}
		return r, nil
	}
	if m.old && errors.Is(err, state.ErrNotFound) {
		s.drop(key, state.Ended) // it takes room for nothing
	}
	return r, err
}

// fill gives a copy to the tiers before the given one that were asked in vain,
// the last first.
func (s *Store) fill(ctx context.Context, read reading, m *misses, before int) {
	for i := before - 1; i >= 0; i-- {
		t := s.tiers[i]
		if !m.asked[i] || t.dirty.Load() {
			continue
		}
		if err := t.Cache.Fill(ctx, s.times.kept(read, t.Shared), m.generations[i]); err != nil {
			s.failed(t, err)
		}
	}
}

// failed tells of an error of a cache, unless it is that somebody gave up.
func (s *Store) failed(t *tier, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, state.ErrClosed) {
		return
	}
	s.opts.OnError(t.name, err)
}
