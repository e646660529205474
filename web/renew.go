package web

import (
	"context"
	"errors"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// renew gives the client the id that it should have by now: the one that a
// parallel request was given, or a new one if that is due. If it cannot be told
// any more, or the store fails, the one it has will do until the next request.
func (s *Session) renew(ctx context.Context, found *session.Session) *session.Session {
	if found.Next.IsZero() && !found.RegenerateDue || s.switchesProtocol() {
		return found
	}
	m := s.sessions.manager
	next := found
	err := s.out.before(func(n *notice) error {
		if found.Next.IsZero() {
			renewed, err := m.Regenerate(ctx, found.ID, m.Policy().RegenerateGrace)
			if err != nil {
				return err
			}
			next = renewed
		} else {
			superseded := *found
			superseded.ID, superseded.Next, superseded.Superseded = found.Next, session.ID{}, false
			next = &superseded
		}
		s.hold(n, next)
		return nil
	})
	if worthLogging(ctx, err) {
		s.sessions.log.WarnContext(ctx, "could not renew the id of a session; the next request will try again", "ref", found.Ref, "error", err)
	}
	return next
}

// switchesProtocol reports whether the answer may have no header that a client
// takes cookies from.
func (s *Session) switchesProtocol() bool { return len(s.request.Header["Upgrade"]) > 0 }

func worthLogging(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && !errors.Is(err, ErrBegun) && !errors.Is(err, session.ErrNotFound)
}
