package session_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
)

func signIn(b *bench, id session.ID, user string, a session.Authentication) *session.Session {
	b.t.Helper()
	s, err := b.SignIn(b.t.Context(), id, session.SignInRequest{User: user, Authentication: a})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func TestSignInNotesWhenAndHow(t *testing.T) {
	b := newBench(t, session.Policy{})
	start := b.clock.Now()
	for name, before := range map[string]func() session.ID{
		"anonymous":  func() session.ID { return anonymous(b) },
		"no session": func() session.ID { return session.ID{} },
		"their own":  func() session.ID { return b.create("ann").ID },
	} {
		s := signIn(b, before(), "ann", session.Authentication{Methods: []string{"pwd"}})
		for _, got := range []*session.Session{s, b.access(s.ID, "ann")} {
			if !got.AuthTime().Equal(start) || !slices.Equal(got.AuthMethods(), []string{"pwd"}) {
				t.Errorf("%s: %v by %v", name, got.AuthTime(), got.AuthMethods())
			}
		}
	}
	if s := b.create("ann"); !s.AuthTime().IsZero() || s.AuthenticatedWithin(time.Hour) || len(s.AuthMethods()) != 0 {
		t.Error("an authentication that nobody made")
	}
}

func TestStepUpAsksForRecentProof(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := signIn(b, anonymous(b), "ann", session.Authentication{Methods: []string{"pwd"}})
	b.clock.Advance(10 * time.Minute)
	s = b.get(s.ID)
	if !s.AuthenticatedWithin(10*time.Minute) || s.AuthenticatedWithin(10*time.Minute-time.Millisecond) {
		t.Error("the age is wrong")
	}
	if s.AuthenticatedWithin(time.Hour, "otp") || !s.AuthTime("otp", "pwd").IsZero() {
		t.Error("a method that was not used counts")
	}
	// The second factor does not renew the first.
	s = signIn(b, s.ID, "ann", session.Authentication{Methods: []string{"otp"}})
	if !s.AuthenticatedWithin(0) || !s.AuthenticatedWithin(0, "otp") || s.AuthenticatedWithin(9*time.Minute, "otp", "pwd") {
		t.Errorf("at %v, otp %v, both %v", s.AuthTime(), s.AuthTime("otp"), s.AuthTime("pwd", "otp"))
	}
	if !s.AuthenticatedWithin(10*time.Minute, "pwd", "otp") || !slices.Equal(s.AuthMethods(), []string{"otp", "pwd"}) {
		t.Errorf("methods %v", s.AuthMethods())
	}
}

func TestAnAuthenticationIsNeverLaterThanNow(t *testing.T) {
	b := newBench(t, session.Policy{})
	now := b.clock.Now()
	for _, id := range []session.ID{anonymous(b), {}, b.create("ann").ID} {
		s := signIn(b, id, "ann", session.Authentication{At: now.Add(time.Hour)})
		if !s.AuthTime().Equal(now) {
			t.Errorf("at %v", s.AuthTime())
		}
		// Nor does an older one take the place of a newer.
		s = signIn(b, s.ID, "ann", session.Authentication{At: now.Add(-time.Hour)})
		if !s.AuthTime().Equal(now) {
			t.Errorf("at %v", s.AuthTime())
		}
	}
}

func TestAuthenticationMethodsAreBounded(t *testing.T) {
	b := newBench(t, session.Policy{})
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprintf("m%d", i)
	}
	s := b.create("ann")
	for _, methods := range [][]string{{"Not A Name"}, {""}, many} {
		for _, id := range []session.ID{s.ID, {}} {
			_, err := b.SignIn(t.Context(), id, session.SignInRequest{User: "ann", Authentication: session.Authentication{Methods: methods}})
			if !errors.Is(err, session.ErrInvalid) && !errors.Is(err, session.ErrTooLarge) {
				t.Errorf("%v: %v", methods, err)
			}
		}
	}
	b.get(s.ID)
}

func TestAnonymousProofsDoNotPassToTheSuccessor(t *testing.T) {
	b := newBench(t, session.Policy{})
	s, err := b.Create(t.Context(), session.CreateRequest{
		Authentication: &session.Authentication{Methods: []string{"hwk"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	next := signIn(b, s.ID, "ann", session.Authentication{Methods: []string{"pwd"}})
	if !slices.Equal(next.AuthMethods(), []string{"pwd"}) {
		t.Errorf("methods %v", next.AuthMethods())
	}
}

func TestSignInIsReported(t *testing.T) {
	b := newBench(t, session.Policy{})
	old := anonymous(b)
	b.journal.take()
	s := signIn(b, old, "ann", session.Authentication{})
	events := b.journal.of(session.EventSignedIn)
	if len(events) != 1 || events[0].Ref != s.Ref || events[0].User != "ann" || !events[0].At.Equal(b.clock.Now()) {
		t.Errorf("events %+v", events)
	}
}
