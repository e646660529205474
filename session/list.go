package session

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Query selects sessions. The zero value selects all that live; the zero
// value of a field does not filter.
type Query struct {
	User *string
	// State selects by state. Expired selects those that have expired and
	// were not swept yet, which are in no other list.
	State         *State
	Owner         string // the process in which they are live
	Address       state.AddressFilter
	CreatedFrom   time.Time // not created before
	CreatedBefore time.Time
	After         state.Ref // go on behind this one
	Max           int       // at most so many; zero: all
}

// List yields the sessions of the query, without ids, in the order of their
// refs. Memory does not grow with their number. A session that is there from
// before the call until its end appears exactly once; one that comes or goes
// meanwhile at most once. An error is yielded last, with a nil session; a
// filter that the store does not have is [ErrUnsupported].
func (m *Manager) List(ctx context.Context, q Query) iter.Seq2[*Session, error] {
	return func(yield func(*Session, error) bool) {
		n := 0
		for r, err := range m.store.List(ctx, m.query(q)) {
			if err != nil {
				yield(nil, fmt.Errorf("list %ss: %w", m.kind, err))
				return
			}
			s := m.session(ID{}, &r)
			if q.State != nil && s.State != *q.State {
				continue
			}
			if n++; !yield(s, nil) || n == q.Max {
				return
			}
		}
	}
}

// Count returns how many sessions List would yield.
func (m *Manager) Count(ctx context.Context, q Query) (int, error) {
	n := 0
	for _, err := range m.List(ctx, q) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// query is what the store can filter by. It does not know of states, so with
// one of those it may not stop at Max.
func (m *Manager) query(q Query) state.Query {
	sq := state.Query{
		Namespace: m.namespace, Kind: m.kind,
		User: q.User, Owner: q.Owner, Address: q.Address,
		CreatedFrom: q.CreatedFrom, CreatedBefore: q.CreatedBefore,
		Expired: q.State != nil && *q.State == Expired,
		After:   q.After,
	}
	if q.State == nil {
		sq.Max = q.Max
	}
	return sq
}
