package session

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A SignInRequest says who has just been authenticated.
type SignInRequest struct {
	// User is the principal, from verified credentials.
	User     string
	Metadata state.Metadata
	// Authentication says when and how; the zero value: now, by no method
	// that has a name.
	Authentication Authentication
}

// SignIn binds what an anonymous session holds to a user who has just been
// authenticated. User and creation of a session never change, so it makes a
// successor: a new session of the user, with a new id and all of the data but
// the reserved keys; then it ends the anonymous one, as replaced. An id that
// somebody planted before sign-in is worth nothing afterwards (session
// fixation), and no update made meanwhile is lost. With the zero ID there is no
// session to succeed, and SignIn creates one.
//
// If the session is the user's already, this is a re-authentication: the same
// session gets a new secret, without a grace, and the metadata. If it is
// another user's, that is a binding mismatch and [ErrNotFound].
//
// Either way the session notes the authentication: see [Session.AuthTime].
//
// The limits apply as to [Manager.Create]; an [ErrLimit] leaves the anonymous
// session as it was. Of several sign-ins with one id at the same moment one
// succeeds; the others are [ErrNotFound]. If the process dies before SignIn
// returns, either the id of before works as it did or a new one does; nobody
// has the new one then, so the user signs in again. A session whose client
// cannot be told of a new id is [ErrFixedID].
func (m *Manager) SignIn(ctx context.Context, id ID, req SignInRequest) (*Session, error) {
	if req.User == "" {
		return nil, &state.InvalidError{What: "user", Why: "empty: there is nobody to sign in"}
	}
	s, err := m.signIn(ctx, id, req)
	if err != nil {
		return nil, err
	}
	m.emit(ctx, Event{Type: EventSignedIn, At: s.now(), Ref: s.Ref, User: s.User, Address: req.Metadata.Address})
	return s, nil
}

func (m *Manager) signIn(ctx context.Context, id ID, req SignInRequest) (*Session, error) {
	create := CreateRequest{User: req.User, Metadata: req.Metadata, Authentication: &req.Authentication}
	if id.IsZero() {
		return m.Create(ctx, create)
	}
	r, err := m.read(ctx, id)
	if err != nil {
		return nil, err
	}
	if hasFixedID(&r) {
		return nil, ErrFixedID
	}
	if r.User == "" {
		return m.succeed(ctx, id, &r, create)
	}
	if err := m.own(ctx, m.session(id, &r), Caller{User: req.User, Address: req.Metadata.Address}); err != nil {
		return nil, err
	}
	return m.regenerate(ctx, id, change{meta: &req.Metadata, proof: &req.Authentication})
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
				maps.DeleteFunc(s.Data, func(key string, _ json.RawMessage) bool { return !reserved(key) })
				maps.Copy(s.Data, data)
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
