package memory

import (
	"context"
	"maps"
	"slices"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// sweepBatch bounds what a sweep does without letting others in.
const sweepBatch = 128

// Sweep implements [state.Store]. It costs time for what it ends, not for what
// there is. It forgets all tombstones that are due: were there fewer than end
// between two sweeps, they would pile up.
func (s *Store) Sweep(ctx context.Context, opts state.SweepOptions) ([]state.End, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := state.CheckQuery(state.Query{Namespace: opts.Namespace, Kind: opts.Kind}); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	sp := s.findSpace(opts.Namespace)
	if sp == nil {
		return nil, nil
	}
	var ends []state.End
	for _, t := range sp.sorted(opts.Kind) {
		for more := true; more && len(ends) < opts.Limit(); {
			var swept []state.End
			swept, more = s.sweepSome(sp, t, min(opts.Limit()-len(ends), sweepBatch))
			ends = append(ends, swept...)
			// What was ended so far is ended and must be returned.
			more = more && ctx.Err() == nil
		}
		for s.forgetSome(sp, t) && ctx.Err() == nil {
		}
	}
	return ends, nil
}

// sorted returns the tables of a kind, or all of them by kind.
func (sp *space) sorted(kind string) []*table {
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	var tables []*table
	for _, k := range slices.Sorted(maps.Keys(sp.tables)) {
		if kind == "" || k == kind {
			tables = append(tables, sp.tables[k])
		}
	}
	return tables
}

// sweepSome ends at most n records and reports whether there may be more.
func (s *Store) sweepSome(sp *space, t *table, n int) (ends []state.End, more bool) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	now := s.clock.now()
	t.notice(now.UnixMilli(), sweepBatch)
	for ; n > 0 && t.expired.len() > 0; n-- {
		e := t.expired.pop()
		e.shard.mu.Lock()
		end := e.expiry()
		s.room.release(1, e.total()-tombCost(&end))
		s.bury(e, end, now, state.Expired)
		e.shard.mu.Unlock()
		ends = append(ends, end)
	}
	more = t.expired.len() > 0 || len(t.live) > 0 && t.live[0].due <= now.UnixMilli()
	return ends, more
}

// forgetSome forgets some tombstones and reports whether there may be more.
func (s *Store) forgetSome(sp *space, t *table) bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return s.forget(t, sweepBatch, s.clock.now()) == sweepBatch
}
