package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// Get returns the session if the id's secret is its secret, or its previous one
// within the grace of a regeneration (Session.Superseded says so). It compares
// no principal and notes no access: use [Manager.Access] for a client's
// request. A session that is not to be had is [ErrNotFound].
func (m *Manager) Get(ctx context.Context, id ID) (*Session, error) {
	r, err := m.read(ctx, id)
	if err != nil {
		return nil, err
	}
	return m.session(id, &r), nil
}

// Authorize is [Manager.Get] for a principal: the session must be the user's,
// who comes from the verified credentials of the request ("" without any). If
// it is not, an [EventBindingMismatch] is emitted and the answer is
// [ErrNotFound], the same as for an id that was never issued.
//
// With a [Policy.Binding] to more than the principal use [Manager.AuthorizeBy]:
// Authorize does not know where the request comes from.
func (m *Manager) Authorize(ctx context.Context, id ID, user string) (*Session, error) {
	return m.AuthorizeBy(ctx, id, Caller{User: user})
}

// AuthorizeBy is [Manager.Authorize] for a caller of whom more is known.
func (m *Manager) AuthorizeBy(ctx context.Context, id ID, c Caller) (*Session, error) {
	s, err := m.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := m.bound(ctx, s, c); err != nil {
		return nil, err
	}
	return s, nil
}

// Access is [Manager.Authorize] that notes the use of the session: what a
// client's request goes through. The returned session is Active.
//
// The use is written down at most once per touch interval, reckoned from the
// record that was read, so that any number of processes share the interval. If
// that write meets an outage, Access succeeds all the same and logs it: the
// session was read and is valid, and a touch that is missing can only end it
// earlier, never let it live longer. If the session turns out to have ended
// meanwhile, Access is [ErrNotFound].
func (m *Manager) Access(ctx context.Context, id ID, user string) (*Session, error) {
	return m.AccessBy(ctx, id, Caller{User: user})
}

// AccessBy is [Manager.Access] for a caller of whom more is known.
func (m *Manager) AccessBy(ctx context.Context, id ID, c Caller) (*Session, error) {
	s, err := m.AuthorizeBy(ctx, id, c)
	if err != nil {
		return nil, err
	}
	return m.used(ctx, s)
}

// Resume is [Manager.AccessBy] where nothing but the id says who makes the
// request, as with a cookie: the principal is the session's own user, and
// c.User is not asked. What else the policy binds to is compared.
func (m *Manager) Resume(ctx context.Context, id ID, c Caller) (*Session, error) {
	s, err := m.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	c.User = s.User
	if err := m.bound(ctx, s, c); err != nil {
		return nil, err
	}
	return m.used(ctx, s)
}

// used notes the use of a session that was read for it.
func (m *Manager) used(ctx context.Context, s *Session) (*Session, error) {
	if s.now().Sub(s.LastAccessed) >= m.policy.TouchInterval {
		if err := m.noteAccess(ctx, s); err != nil {
			return nil, err
		}
	}
	s.State = Active
	return s, nil
}

// noteAccess writes down that the session was used. Requests of one process
// that come to it at the same moment share one write.
func (m *Manager) noteAccess(ctx context.Context, s *Session) error {
	st, first, err := m.touches.do(ctx, s.Ref, func() (state.Stamp, error) { return m.touch(ctx, s.Ref, nil) })
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrNotFound
	case ctx.Err() != nil:
		return fmt.Errorf("access %s: %w", m.kind, ctx.Err())
	case err != nil:
		if first {
			m.log.WarnContext(ctx, "could not note the use of a session; it may end early", "ref", s.Ref, "error", err)
		}
		return nil
	}
	before := s.State
	m.stamp(s, st)
	if first && before == Idle {
		m.emit(ctx, Event{Type: EventReactivated, At: st.LastAccessed, Ref: s.Ref, User: s.User})
	}
	return nil
}

// Touch notes the use of a session by its ref, at once and without asking
// whose it is: for open streams and running calls of a session that the caller
// was given before.
func (m *Manager) Touch(ctx context.Context, ref state.Ref, opts ...WriteOption) error {
	if _, err := m.touch(ctx, ref, opts); err != nil {
		return fmt.Errorf("touch %s: %w", m.name(ref), err)
	}
	return nil
}

func (m *Manager) touch(ctx context.Context, ref state.Ref, opts []WriteOption) (state.Stamp, error) {
	op := state.TouchOp{Key: m.key(ref), Idle: m.policy.idle(), Epoch: epochOf(opts)}
	res, err := state.Do(ctx, m.store, op)
	return res.Stamp, err
}

// Lookup returns a session by its ref, without a secret and without an ID, for
// operators and adapters. If it has ended and the store remembers, the
// [ErrNotFound] is a [*state.NotFoundError] that says how.
func (m *Manager) Lookup(ctx context.Context, ref state.Ref) (*Session, error) {
	r, err := m.readRef(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", m.name(ref), err)
	}
	return m.session(ID{}, &r), nil
}

// read returns the record that the id opens. Whatever is wrong with the id,
// the cost and the answer are the same.
func (m *Manager) read(ctx context.Context, id ID) (state.Record, error) {
	if id.IsZero() {
		return state.Record{}, ErrNotFound
	}
	r, err := m.readRef(ctx, id.Ref())
	if err != nil && !errors.Is(err, ErrNotFound) {
		return state.Record{}, fmt.Errorf("read %s: %w", m.name(id.Ref()), err)
	}
	// The record is zero if it was not found, and is compared all the same.
	current, previous := id.Matches(r.Secret.Hash), id.Matches(r.Secret.Previous)
	if err != nil || !(current || previous) {
		return state.Record{}, ErrNotFound
	}
	return r, nil
}

// readRef returns the record of the ref if it is of the Manager's kind.
func (m *Manager) readRef(ctx context.Context, ref state.Ref) (state.Record, error) {
	r, err := m.store.Get(ctx, m.key(ref))
	if err != nil {
		return state.Record{}, m.ownEnd(err)
	}
	if r.Kind != m.kind {
		return state.Record{}, &state.NotFoundError{}
	}
	return r, nil
}

// ownEnd hides the end of a record of another kind.
func (m *Manager) ownEnd(err error) error {
	if end := endOf(err); end != nil && end.Kind != m.kind {
		return &state.NotFoundError{}
	}
	return err
}

// name is how messages call the session of a ref.
func (m *Manager) name(ref state.Ref) string { return m.kind + " " + ref.String() }
