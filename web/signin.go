package web

import (
	"context"
	"errors"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// SignIn makes the session that of a user who has just proved who they are, by
// the methods that how names, and gives the browser a new id. What an anonymous
// session held goes along; the id from before opens nothing any more (session
// fixation). A user who is signed in already authenticates again: see
// [Require]. Another user is signed out first, and nothing goes along.
//
// It must be called before the first byte of the answer, or it is [ErrBegun].
//
// Of sign-ins that one browser makes at the same moment, each succeeds, and
// the data of the anonymous session goes to one of them.
func (s *Session) SignIn(ctx context.Context, user string, how session.Authentication) error {
	if s.sessions == nil {
		return ErrNoMiddleware
	}
	if err := s.checkPrincipal(user); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.load(ctx)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		return err
	}
	return s.out.before(func(n *notice) error {
		next, err := s.sessions.signIn(ctx, now, session.SignInRequest{
			User: user, Metadata: s.sessions.opts.Collector.Collect(s.request), Authentication: how,
		})
		if err != nil {
			return err
		}
		s.hold(n, next)
		return nil
	})
}

// checkPrincipal says whether the credentials of the request are the user's, if
// it has any.
func (s *Session) checkPrincipal(user string) error {
	principal, err := s.principal()
	if err == nil && principal != "" && principal != user {
		err = errPrincipal
	}
	return err
}

// signIn signs a user in on a session, or on none.
func (s *Sessions) signIn(ctx context.Context, now *session.Session, req session.SignInRequest) (*session.Session, error) {
	if now == nil {
		return s.manager.SignIn(ctx, session.ID{}, req)
	}
	if now.User != "" && now.User != req.User {
		return s.replace(ctx, now, req)
	}
	next, err := s.manager.SignIn(ctx, now.ID, req)
	if errors.Is(err, session.ErrNotFound) {
		// It has ended since, or another sign-in was quicker.
		return s.manager.SignIn(ctx, session.ID{}, req)
	}
	return next, err
}

// replace signs a user in where another one was.
func (s *Sessions) replace(ctx context.Context, now *session.Session, req session.SignInRequest) (*session.Session, error) {
	next, err := s.manager.SignIn(ctx, session.ID{}, req)
	if err != nil {
		return nil, err
	}
	by := "sign-in of another user"
	if _, err := s.manager.Revoke(context.WithoutCancel(ctx), now.Ref, state.ReasonReplaced, by); err != nil {
		s.log.WarnContext(ctx, "could not end the session of the user before; it stays until it expires", "ref", now.Ref, "error", err)
	}
	return next, nil
}

// Regenerate gives the browser a new id for the same session at once, and the
// old one ends: before privileges change (OWASP ASVS 5.0, 7.2.4). What SignIn
// does needs no Regenerate.
func (s *Session) Regenerate(ctx context.Context) error {
	return s.Elevate(ctx, func(*session.Session) error { return nil })
}

// Elevate is [Session.Update] for a change of privileges: the change and a new
// id are one write, so that the id from before never has the new privileges.
// The function must not write to the response.
func (s *Session) Elevate(ctx context.Context, fn func(*session.Session) error) error {
	now, err := s.current(ctx)
	if err != nil {
		return err
	}
	var next *session.Session
	err = s.out.before(func(n *notice) (err error) {
		if next, err = s.sessions.manager.Elevate(ctx, now.ID, fn); err == nil {
			n.give(s.ticket.carrier, next)
		}
		return err
	})
	if err != nil {
		return s.adopt(now, nil, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = next
	return nil
}

// SignOut ends the session, and has the browser forget its cookie and clear
// what it keeps of the site. Without a session it does the latter alone. If the
// store cannot be reached nothing is done; nor if another site started the
// request, which is [ErrWithheld].
func (s *Session) SignOut(ctx context.Context) error {
	if s.sessions == nil {
		return ErrNoMiddleware
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.load(ctx)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		return err
	}
	if err != nil && s.ticket.withheld {
		return s.elsewhere()
	}
	if err == nil {
		// By its ref: another request may be renewing the id.
		if _, err := s.sessions.manager.Revoke(ctx, now.Ref, state.ReasonLogout, byUser); err != nil {
			return err
		}
	}
	s.now, s.ticket.id, s.ended = nil, session.ID{}, false
	err = s.out.before(func(n *notice) error {
		*n = notice{carrier: s.ticket.carrier, gone: true}
		return nil
	})
	if errors.Is(err, ErrBegun) {
		return nil // the cookie that stays opens nothing
	}
	return err
}

// SignOutOthers ends all other sessions of the user, and returns how many there
// were. This one gets a new id, so that a copy of its cookie is worth nothing
// either (OWASP ASVS 5.0, 7.4.3).
func (s *Session) SignOutOthers(ctx context.Context) (int, error) {
	now, err := s.signedIn(ctx)
	if err != nil {
		return 0, err
	}
	if err := s.Regenerate(ctx); err != nil {
		return 0, err
	}
	return s.sessions.manager.RevokeUser(ctx, now.User, byUser, now.Ref)
}

// byUser is who ends the sessions here, for people.
const byUser = "the user"

// signedIn returns the session of a user, or ErrSignedOut.
func (s *Session) signedIn(ctx context.Context) (*session.Session, error) {
	now, err := s.current(ctx)
	if errors.Is(err, session.ErrNotFound) || err == nil && now.User == "" {
		return nil, ErrSignedOut
	}
	return now, err
}
