package web

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// A Session is the session of a request: see [FromContext]. The store is asked
// when it is first used, and what was read stays for the rest of the request;
// [Session.Refresh] asks again.
//
// It is safe for concurrent use.
type Session struct {
	sessions *Sessions // nil: there is no middleware
	request  *http.Request
	out      *response

	mu     sync.Mutex // guards the rest; held while the store is asked
	ticket ticket
	loaded bool
	now    *session.Session // nil: there is none
	ended  bool             // it was there, and ended during the request
}

// Load returns a snapshot of the session, which is the caller's own. Without a
// session it is session.ErrNotFound. The first use in a request notes the
// access, and renews the id when that is due.
func (s *Session) Load(ctx context.Context) (*session.Session, error) {
	now, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	snapshot := *now
	snapshot.Data = maps.Clone(now.Data)
	return &snapshot, nil
}

// Refresh asks the store again. In a long stream it tells when the session has
// ended elsewhere, which is session.ErrNotFound, and keeps it from ending for
// idleness.
func (s *Session) Refresh(ctx context.Context) (*session.Session, error) {
	s.mu.Lock()
	if s.now != nil {
		s.ticket.id, s.loaded = s.now.ID, false
	}
	s.mu.Unlock()
	return s.Load(ctx)
}

// User returns whose session it is, or "" for nobody's.
func (s *Session) User(ctx context.Context) (string, error) {
	now, err := s.current(ctx)
	if errors.Is(err, session.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return now.User, nil
}

// Get decodes the value of the key into what into points to, and reports
// whether there is one.
func (s *Session) Get(ctx context.Context, key string, into any) (found bool, err error) {
	now, err := s.current(ctx)
	if errors.Is(err, session.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return now.Get(key, into)
}

// Set stores one value, as JSON.
func (s *Session) Set(ctx context.Context, key string, value any) error {
	return s.Update(ctx, func(now *session.Session) error { return now.Set(key, value) })
}

// Delete removes one value.
func (s *Session) Delete(ctx context.Context, key string) error {
	return s.Update(ctx, func(now *session.Session) error {
		now.Delete(key)
		return nil
	})
}

// Update changes the data by a function, as session.Manager.Update does: it may
// run several times, and should change nothing but the session it is given.
// What it changes is stored when Update returns; if that is nothing, nothing is
// written.
//
// Without a session, one is started if the function puts something into its
// data. That must be before the first byte of the answer, or it is [ErrBegun];
// and in a request that another site did not start, or it is [ErrWithheld]. If
// the session has ended during the request it is session.ErrNotFound.
func (s *Session) Update(ctx context.Context, fn func(*session.Session) error) error {
	now, err := s.current(ctx)
	if errors.Is(err, session.ErrNotFound) {
		return s.start(ctx, fn)
	}
	if err != nil {
		return err
	}
	next, err := s.sessions.manager.Update(ctx, now.ID, fn)
	return s.adopt(now, next, err)
}

// start starts a session for the values that fn puts into an empty one.
func (s *Session) start(ctx context.Context, fn func(*session.Session) error) error {
	user, err := s.principal()
	if err != nil {
		return err
	}
	empty := &session.Session{
		Kind: s.sessions.manager.Kind(), User: user, State: session.Created,
		Metadata: s.sessions.opts.Collector.Collect(s.request),
	}
	if err := fn(empty); err != nil {
		return err
	}
	if len(empty.Data) == 0 {
		return nil
	}
	for key := range empty.Data {
		if strings.HasPrefix(key, session.ReservedPrefix) {
			return session.ErrReservedKey
		}
	}
	started, err := s.create(ctx, session.CreateRequest{User: user, Metadata: empty.Metadata, Data: empty.Data})
	if err != nil || started {
		return err
	}
	return s.Update(ctx, fn) // another goroutine has started one
}

// create makes a session, unless there is one, and reports whether it did.
func (s *Session) create(ctx context.Context, req session.CreateRequest) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return false, session.ErrNotFound
	case s.now == nil && s.ticket.withheld:
		return false, s.elsewhere()
	case s.now != nil:
		return false, nil
	}
	err := s.out.before(func(n *notice) error {
		made, err := s.sessions.manager.Create(ctx, req)
		if err != nil {
			return err
		}
		s.hold(n, made)
		return nil
	})
	return err == nil, err
}

// hold makes next the session of the request, and has its client told of its
// id. s.mu is held.
func (s *Session) hold(n *notice, next *session.Session) {
	s.now, s.loaded, s.ended = next, true, false
	n.give(s.ticket.carrier, next)
}

// current returns the session, which is not to be changed.
func (s *Session) current(ctx context.Context) (*session.Session, error) {
	if s.sessions == nil {
		return nil, ErrNoMiddleware
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(ctx)
}

// load reads the session if that has not been done. s.mu is held.
func (s *Session) load(ctx context.Context) (*session.Session, error) {
	s.out.keepPrivate()
	if !s.loaded {
		found, err := s.read(ctx)
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			return nil, err
		}
		s.ended = err != nil && s.now != nil
		s.now, s.loaded = found, true
	}
	if s.now == nil {
		return nil, session.ErrNotFound
	}
	return s.now, nil
}

// read asks the store for the session of the ticket, and renews its id.
func (s *Session) read(ctx context.Context) (*session.Session, error) {
	if s.ticket.id.IsZero() {
		return nil, session.ErrNotFound
	}
	user, err := s.principal()
	if err != nil {
		return nil, err
	}
	caller := s.sessions.opts.Collector.Caller(s.request, user)
	access := s.sessions.manager.Resume // the session alone says who it is
	if s.sessions.opts.Principal != nil {
		access = s.sessions.manager.AccessBy
	}
	found, err := access(ctx, s.ticket.id, caller)
	if err != nil {
		return nil, err
	}
	return s.renew(ctx, found), nil
}

// principal returns who makes the request, by credentials beside the session.
func (s *Session) principal() (string, error) {
	if s.sessions.opts.Principal == nil {
		return "", nil
	}
	user, err := s.sessions.opts.Principal(s.request)
	if err != nil {
		return "", errPrincipal
	}
	return user, nil
}

// adopt takes over what a change of now made of it.
func (s *Session) adopt(now, next *session.Session, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.now != nil && s.now.ID.Equal(now.ID)
	switch {
	case errors.Is(err, session.ErrNotFound) && same:
		s.now, s.ended = nil, true
	case err == nil && same && next.Version >= s.now.Version:
		next.ID, next.Superseded, next.Next = s.now.ID, s.now.Superseded, s.now.Next
		s.now = next
	}
	return err
}
