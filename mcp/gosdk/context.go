package gosdk

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Session is the stored session for which a handler of the server (a tool,
// a resource, a middleware) runs: see [FromContext]. What is put into it is
// stored when the method returns, and there again after a restart.
//
// It is safe for concurrent use, and every method reads or writes the store.
// Once the session has ended, they are session.ErrNotFound. Where another
// replica has taken it over (see Options.Cluster), writes are
// session.ErrFenced, and the call is cancelled.
type Session struct {
	live *live
}

type sessionKey struct{}

// FromContext returns the session of the call that ctx belongs to. There is
// none, and false, in requests of the 2026-07-28 revision, which has no
// protocol sessions.
func FromContext(ctx context.Context) (*Session, bool) {
	s, ok := ctx.Value(sessionKey{}).(*Session)
	return s, ok
}

// Ref names the session in logs and on the command line. The SDK's
// ServerSession.ID is its text.
func (s *Session) Ref() state.Ref { return s.live.ref }

// User returns the principal to whom the session is bound; "" for none.
func (s *Session) User() string { return s.live.user }

// Reactivated reports whether the session was in the store only and has been
// made live again: after a restart, or after it was idle. What the process
// itself kept for the session, such as variables of the tool, is not there then.
func (s *Session) Reactivated() bool { return s.live.reactivated }

// Load returns a snapshot of the session.
func (s *Session) Load(ctx context.Context) (*session.Session, error) {
	return s.manager().Lookup(ctx, s.live.ref)
}

// Get decodes the value of the key into what into points to, and reports
// whether there is one.
func (s *Session) Get(ctx context.Context, key string, into any) (found bool, err error) {
	snapshot, err := s.Load(ctx)
	if err != nil {
		return false, err
	}
	return snapshot.Get(key, into)
}

// Set stores one value, as JSON.
func (s *Session) Set(ctx context.Context, key string, value any) error {
	return s.Update(ctx, func(snapshot *session.Session) error { return snapshot.Set(key, value) })
}

// Delete removes one value.
func (s *Session) Delete(ctx context.Context, key string) error {
	return s.Update(ctx, func(snapshot *session.Session) error {
		snapshot.Delete(key)
		return nil
	})
}

// Update changes the data by a function that may run several times, so that no
// concurrent change is lost; see session.Manager.Update. Keys that begin with
// session.ReservedPrefix are session.ErrReservedKey.
func (s *Session) Update(ctx context.Context, fn func(*session.Session) error) error {
	_, err := s.manager().UpdateRef(ctx, s.live.ref, func(snapshot *session.Session) error {
		before := reservedData(snapshot)
		if err := fn(snapshot); err != nil {
			return err
		}
		if !maps.Equal(before, reservedData(snapshot)) {
			return session.ErrReservedKey
		}
		return nil
	}, session.AtEpoch(s.live.epoch))
	if errors.Is(err, session.ErrFenced) {
		s.live.h.lose(s.live)
	}
	return err
}

// End ends the session: its streams end, its calls are cancelled, and its
// client has to initialize anew. by says who did it, for people. (Closing the
// SDK's ServerSession does not end it: servers do that to shut down.)
func (s *Session) End(ctx context.Context, reason state.Reason, by string) error {
	_, err := s.manager().Revoke(ctx, s.live.ref, reason, by)
	return err
}

func (s *Session) manager() *session.Manager { return s.live.h.manager }

func reservedData(s *session.Session) map[string]string {
	kept := map[string]string{}
	for k, v := range s.Data {
		if strings.HasPrefix(k, session.ReservedPrefix) {
			kept[k] = string(v)
		}
	}
	return kept
}
