package memory

import (
	"context"
	"iter"
	"slices"

	"github.com/coatcheck-mcp/coatcheck/state"
)

const (
	// listPage is how many records a List looks at between two looks at the
	// index.
	listPage = 128
	// listUser bounds what a List takes from a user's set at once. Those of
	// a user with more are found by looking at all records.
	listUser = 1024
)

// List implements [state.Store]. It holds no lock while the caller has a
// record.
func (s *Store) List(ctx context.Context, q state.Query) iter.Seq2[state.Record, error] {
	return func(yield func(state.Record, error) bool) {
		if err := s.list(ctx, &q, yield); err != nil {
			yield(state.Record{}, err)
		}
	}
}

func (s *Store) list(ctx context.Context, q *state.Query, yield func(state.Record, error) bool) error {
	if err := state.CheckQuery(*q); err != nil {
		return err
	}
	if err := s.usable(ctx); err != nil {
		return err
	}
	sp := s.findSpace(q.Namespace)
	if sp == nil {
		return nil
	}
	page, last := sp.firstPage(q)
	for yielded := 0; len(page) > 0; {
		for _, e := range page {
			if err := s.usable(ctx); err != nil {
				return err
			}
			r, ok := s.match(e, q)
			if !ok {
				continue
			}
			if !yield(r, nil) {
				return nil
			}
			if yielded++; yielded == q.Max {
				return nil
			}
		}
		if last {
			return nil
		}
		page = sp.page(page[len(page)-1].rec.Ref, page[:0])
	}
	return nil
}

// usable returns the error of a read that can not be answered.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return state.ErrClosed
	}
	return nil
}

// firstPage returns where a List starts, and whether that is all of it.
func (sp *space) firstPage(q *state.Query) (page []*entry, last bool) {
	if page, ok := sp.ofUser(q); ok {
		return page, true
	}
	return sp.page(q.After, make([]*entry, 0, listPage)), false
}

func (sp *space) page(after state.Ref, buf []*entry) []*entry {
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	return sp.order.page(after, buf)
}

// ofUser returns the live records of the user asked for, in order, or false if
// they must be found by looking at all.
func (sp *space) ofUser(q *state.Query) ([]*entry, bool) {
	if q.User == nil || *q.User == "" || q.Expired {
		return nil, false
	}
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	var found []*entry
	for kind, t := range sp.tables {
		if q.Kind != "" && q.Kind != kind || t.count(*q.User) == 0 {
			continue
		}
		if len(found)+t.count(*q.User) > listUser {
			return nil, false
		}
		for _, e := range t.users[*q.User].entries {
			if e.rec.Ref.Compare(q.After) > 0 {
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return a.rec.Ref.Compare(b.rec.Ref) })
	return found, true
}

// match returns a copy of the record if it is there and selected.
func (s *Store) match(e *entry, q *state.Query) (state.Record, bool) {
	e.shard.mu.RLock()
	now := s.clock.now()
	if e.gone || !q.Match(&e.rec, now) {
		e.shard.mu.RUnlock()
		return state.Record{}, false
	}
	r := e.rec
	e.shard.mu.RUnlock()
	finish(&r, now)
	return r, true
}
