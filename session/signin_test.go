package session_test

import (
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func anonymous(b *bench) session.ID {
	b.t.Helper()
	s, err := b.Create(b.t.Context(), session.CreateRequest{Data: map[string]json.RawMessage{
		"basket":                         json.RawMessage(`["milk"]`),
		session.ReservedPrefix + "about": json.RawMessage(`1`),
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	return s.ID
}

func TestSignIn(t *testing.T) {
	b := newBench(t, session.Policy{})
	old := anonymous(b)
	b.clock.Advance(time.Minute)
	b.journal.take()
	s, err := b.SignIn(t.Context(), old, session.SignInRequest{User: "ann", Metadata: state.Metadata{UserAgent: "agent"}})
	if err != nil {
		t.Fatal(err)
	}
	if s.User != "ann" || s.Ref == old.Ref() || s.Metadata.UserAgent != "agent" || !s.Created.Equal(b.clock.Now()) {
		t.Errorf("got %+v", s)
	}
	got := b.access(s.ID, "ann")
	if _, planted := got.Data[session.ReservedPrefix+"about"]; planted || string(got.Data["basket"]) != `["milk"]` {
		t.Errorf("data %s", got.Data)
	}
	// A planted id is worth nothing.
	if _, err := b.Get(t.Context(), old); err != session.ErrNotFound {
		t.Errorf("the anonymous id: %v", err)
	}
	why, err := b.Explain(t.Context(), old.Ref())
	if err != nil || why.End == nil || why.End.Reason != state.ReasonReplaced {
		t.Errorf("explained %+v, %v", why, err)
	}
	types := map[session.EventType]int{}
	for _, e := range b.journal.take() {
		types[e.Type]++
		if e.Type == session.EventEnded && (e.Ref != old.Ref() || e.Reason != state.ReasonReplaced || e.Age != time.Minute) {
			t.Errorf("ended %+v", e)
		}
	}
	if types[session.EventCreated] != 1 || types[session.EventEnded] != 1 {
		t.Errorf("events %v", types)
	}
}

func TestSignInAgainIsARegeneration(t *testing.T) {
	b := newBench(t, session.Policy{MaxPerUser: 1})
	first := b.create("ann")
	s, err := b.SignIn(t.Context(), first.ID, session.SignInRequest{User: "ann", Metadata: state.Metadata{UserAgent: "new"}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Ref != first.Ref || s.ID.Equal(first.ID) || s.Metadata.UserAgent != "new" || b.get(s.ID).Metadata.UserAgent != "new" {
		t.Errorf("got %+v", s)
	}
	if _, err := b.Get(t.Context(), first.ID); err != session.ErrNotFound {
		t.Errorf("the id from before: %v", err)
	}
}

func TestSignInToSomebodyElsesSession(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	b.journal.take()
	if _, err := b.SignIn(t.Context(), s.ID, session.SignInRequest{User: "bob"}); err != session.ErrNotFound {
		t.Errorf("got %v", err)
	}
	if n := len(b.journal.of(session.EventBindingMismatch)); n != 1 {
		t.Errorf("%d mismatches", n)
	}
	if _, err := b.SignIn(t.Context(), s.ID, session.SignInRequest{User: ""}); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("nobody: %v", err)
	}
	b.get(s.ID)
}

func TestRefusedSignInLeavesTheAnonymousSession(t *testing.T) {
	b := newBench(t, session.Policy{MaxPerUser: 1, RefuseOverLimit: true})
	b.create("ann")
	old := anonymous(b)
	if _, err := b.SignIn(t.Context(), old, session.SignInRequest{User: "ann"}); !errors.Is(err, session.ErrLimit) {
		t.Errorf("got %v", err)
	}
	if got := b.get(old); len(got.Data) != 2 || b.count() != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestRacingSignInsMakeOneSession(t *testing.T) {
	b := newBench(t, session.Policy{MaxPerUser: -1})
	old := anonymous(b)
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex // guards won
		won []session.ID
	)
	for range 8 {
		wg.Go(func() {
			s, err := b.SignIn(t.Context(), old, session.SignInRequest{User: "ann"})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				won = append(won, s.ID)
			} else if err != session.ErrNotFound {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 || b.count() != 1 {
		t.Fatalf("%d won, %d sessions", len(won), b.count())
	}
	b.get(won[0])
}

func TestSignInTakesOverWhatWasWrittenMeanwhile(t *testing.T) {
	b := newBench(t, session.Policy{})
	old := anonymous(b)
	m := b.between(func() {
		if err := b.Set(t.Context(), old, "late", 1); err != nil {
			t.Error(err)
		}
	})
	s, err := m.SignIn(t.Context(), old, session.SignInRequest{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.get(s.ID); string(got.Data["late"]) != "1" || !maps.EqualFunc(got.Data, s.Data, func(a, b json.RawMessage) bool { return string(a) == string(b) }) || s.AuthTime().IsZero() {
		t.Errorf("data %s", got.Data)
	}
}

func TestSignInOfASessionThatEndsMeanwhile(t *testing.T) {
	b := newBench(t, session.Policy{})
	old := anonymous(b)
	m := b.between(func() {
		if _, err := b.Revoke(t.Context(), old.Ref(), state.ReasonRevoked, "root"); err != nil {
			t.Error(err)
		}
	})
	if _, err := m.SignIn(t.Context(), old, session.SignInRequest{User: "ann"}); err != session.ErrNotFound {
		t.Errorf("got %v", err)
	}
	if n := b.count(); n != 0 {
		t.Errorf("%d sessions hold the data of a revoked one", n)
	}
}
