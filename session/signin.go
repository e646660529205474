package session

import (
	"context"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// SignIn binds what an anonymous session holds to a user who has just been
// authenticated. User and creation of a session never change, so it makes a
// successor: a new session of the user, with a new id and all of the data but
// the reserved keys; then it ends the anonymous one, as replaced. An id that
// somebody planted before sign-in is worth nothing afterwards (session
// fixation), and no update made meanwhile is lost.
//
// If the session is the user's already, this is a re-authentication: the same
// session gets a new secret, without a grace, and the metadata. If it is
// another user's, that is a binding mismatch and [ErrNotFound].
//
// The limits apply as to [Manager.Create]; an [ErrLimit] leaves the anonymous
// session as it was. Of several sign-ins with one id at the same moment one
// succeeds; the others are [ErrNotFound].
func (m *Manager) SignIn(ctx context.Context, id ID, user string, md state.Metadata) (*Session, error) {
	if user == "" {
		return nil, &state.InvalidError{What: "user", Why: "empty: there is nobody to sign in"}
	}
	r, err := m.read(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.User == "" {
		return m.succeed(ctx, id, &r, CreateRequest{User: user, Metadata: md})
	}
	if err := m.bound(ctx, m.session(id, &r), user); err != nil {
		return nil, err
	}
	return m.regenerate(ctx, id, 0, &md)
}

// succeed makes the successor of an anonymous session r.
func (m *Manager) succeed(ctx context.Context, id ID, r *state.Record, req CreateRequest) (*Session, error) {
	req.Data = withoutReserved(r.Data)
	next, err := m.Create(ctx, req)
	if err != nil {
		return nil, err
	}
	next, err = m.takeOver(ctx, id, r.Version, next)
	if err != nil {
		// Nobody has seen its id.
		if _, dropErr := m.end(context.WithoutCancel(ctx), next.Ref, state.ReasonFailed, "sign-in"); dropErr != nil {
			m.log.WarnContext(ctx, "could not end the successor of a failed sign-in; it stays, unused, until it expires", "ref", next.Ref, "error", dropErr)
		}
		return nil, err
	}
	by := "successor " + next.Ref.String()
	if _, err := m.end(context.WithoutCancel(ctx), id.Ref(), state.ReasonReplaced, by); err != nil {
		// Its secret is gone, so it is of no use to anybody until it expires.
		m.log.WarnContext(ctx, "could not end a session after sign-in; it stays, closed, until it expires", "ref", id.Ref(), "error", err)
	}
	return next, nil
}

// takeOver closes the predecessor, by a secret that nobody has, at the version
// whose data the successor holds. If it was updated since, the successor
// receives that first.
func (m *Manager) takeOver(ctx context.Context, id ID, version uint64, next *Session) (*Session, error) {
	nobody, err := m.gen.secretFor(id.Ref())
	if err != nil {
		return next, fmt.Errorf("sign in: %w", err)
	}
	_, _, err = m.compareAndSwap(ctx, id.Ref(), m.opener(id), func(r *state.Record) (*state.UpdateOp, error) {
		if r.Version != version {
			data := withoutReserved(r.Data)
			updated, err := m.Update(ctx, next.ID, func(s *Session) error {
				s.Data = data
				return nil
			})
			if err != nil {
				return nil, err
			}
			next, version = updated, r.Version
		}
		return &state.UpdateOp{Rotate: &state.Rotation{Hash: nobody.Hash()}}, nil
	})
	return next, err
}
