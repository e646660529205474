package statetest

import (
	"errors"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// guideChecks are the two tests of the session management guide from which the
// project comes, under their names, through a session.Manager on the store.
func guideChecks() []check {
	return []check{
		{"TestSessionLifecycle", guideLifecycle, 0},
		{"TestSessionExpiry", guideExpiry, 0},
	}
}

func (e *env) manager(p session.Policy) *session.Manager {
	e.Helper()
	opts := session.Options{Namespace: e.ns, Policy: p}
	if e.clock != nil {
		opts.Clock = e.clock.Now
	}
	m, err := session.NewManager(e.store, opts)
	if err != nil {
		e.Fatalf("make a Manager on the store: %v", err)
	}
	return m
}

func guideLifecycle(e *env) {
	m := e.manager(session.Policy{})

	s, err := m.Create(e.ctx, session.CreateRequest{User: "user123"})
	if err != nil {
		e.Fatalf("Create: %v", err)
	}
	if s.User != "user123" {
		e.Fatalf("Create: got user %q, want user123", s.User)
	}

	retrieved, err := m.Get(e.ctx, s.ID)
	if err != nil {
		e.Fatalf("Get: %v", err)
	}
	if retrieved.Ref != s.Ref || retrieved.User != s.User {
		e.Fatalf("Get: got session %v of another ref or user, want %v", retrieved.Ref, s.Ref)
	}

	if err := m.Set(e.ctx, s.ID, "key", "value"); err != nil {
		e.Fatalf("Set: %v", err)
	}
	e.settled(func() error {
		got, err := m.Get(e.ctx, s.ID)
		if err != nil {
			return err
		}
		var value string
		if found, err := got.Get("key", &value); err != nil || !found || value != "value" {
			return errors.New("the value that was set is not there")
		}
		return nil
	})

	if _, err := m.Extend(e.ctx, s.ID, time.Hour); err != nil {
		e.Fatalf("Extend: %v", err)
	}

	if err := m.Delete(e.ctx, s.ID); err != nil {
		e.Fatalf("Delete: %v", err)
	}
	e.noSession(m, s.ID)
}

func guideExpiry(e *env) {
	life := 100 * time.Millisecond
	if e.clock == nil {
		life = e.life()
	}
	m := e.manager(session.Policy{AbsoluteLifetime: life, IdleTimeout: life})

	s, err := m.Create(e.ctx, session.CreateRequest{User: "user123"})
	if err != nil {
		e.Fatalf("Create: %v", err)
	}
	// With the store's own clock it may be over already.
	if _, err := m.Get(e.ctx, s.ID); err != nil && e.clock != nil {
		e.Fatalf("Get before the expiry: %v", err)
	}
	e.expire(life + life/2) // an idle session may live longer by its touch interval
	e.noSession(m, s.ID)
}

// noSession ends the check unless the session is gone.
func (e *env) noSession(m *session.Manager, id session.ID) {
	e.Helper()
	e.settled(func() error {
		_, err := m.Get(e.ctx, id)
		switch {
		case err == nil:
			return errors.New("the session is still there")
		case !errors.Is(err, session.ErrNotFound) || !errors.Is(err, state.ErrNotFound):
			return err
		}
		return nil
	})
}
