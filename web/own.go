package web

import (
	"context"
	"errors"
	"iter"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// List yields the sessions of the user, this one among them, for a page that
// shows people where they are signed in (OWASP ASVS 5.0, 7.5.2). None has an
// ID; [Session.End] takes the Ref. An error is yielded last, with a nil
// session; it is [ErrSignedOut] where nobody is signed in.
func (s *Session) List(ctx context.Context) iter.Seq2[*session.Session, error] {
	return func(yield func(*session.Session, error) bool) {
		now, err := s.signedIn(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for own, err := range s.sessions.manager.List(ctx, session.Query{User: &now.User}) {
			if !yield(own, err) {
				return
			}
		}
	}
}

// End ends one of the user's sessions; this one as [Session.SignOut] does. For
// a session that is not there, and one of somebody else, it is [ErrNotYours].
func (s *Session) End(ctx context.Context, ref state.Ref) error {
	now, err := s.signedIn(ctx)
	if err != nil {
		return err
	}
	if ref == now.Ref {
		return s.SignOut(ctx)
	}
	m := s.sessions.manager
	other, err := m.Lookup(ctx, ref)
	if errors.Is(err, session.ErrNotFound) || err == nil && other.User != now.User {
		return ErrNotYours
	}
	if err != nil {
		return err
	}
	ended, err := m.Revoke(ctx, ref, state.ReasonLogout, byUser)
	if err == nil && !ended {
		return ErrNotYours
	}
	return err
}
