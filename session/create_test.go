package session_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestCreate(t *testing.T) {
	b := newBench(t, session.Policy{})
	data := map[string]json.RawMessage{"k": json.RawMessage(`{"a":1}`)}
	s, err := b.Create(t.Context(), session.CreateRequest{
		User: "ann", Data: data, Metadata: state.Metadata{UserAgent: "agent/1", ProtocolVersion: "2025-11-25"},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := b.clock.Now()
	if s.User != "ann" || s.Kind != "session" || s.State != session.Created || s.Version != 1 ||
		!s.Created.Equal(now) || !s.LastAccessed.Equal(now) || s.Metadata.UserAgent != "agent/1" {
		t.Errorf("got %+v", s)
	}
	if want := now.Add(2*time.Hour + time.Minute); !s.IdleDeadline.Equal(want) || !s.Expires().Equal(want) {
		t.Errorf("idle deadline %v, want %v", s.IdleDeadline, want)
	}
	if want := now.Add(24 * time.Hour); !s.AbsoluteDeadline.Equal(want) {
		t.Errorf("absolute deadline %v, want %v", s.AbsoluteDeadline, want)
	}
	events := b.journal.take()
	if len(events) != 1 || events[0].Type != session.EventCreated || events[0].Ref != s.Ref || events[0].User != "ann" ||
		events[0].Kind != "session" || events[0].Size < len(`{"a":1}`) || !events[0].At.Equal(now) {
		t.Errorf("events %+v", events)
	}
	// What the caller does with what it gave or got changes nothing stored.
	data["k"] = json.RawMessage(`2`)
	s.Data["other"] = json.RawMessage(`3`)
	if got := b.get(s.ID); len(got.Data) != 1 || string(got.Data["k"]) != `{"a":1}` {
		t.Errorf("stored %s", got.Data)
	}
}

func TestCreateEvictsTheOldest(t *testing.T) {
	b := newBench(t, session.Policy{MaxPerUser: 2})
	first := b.create("ann")
	b.clock.Advance(time.Second)
	second := b.create("ann")
	other := b.create("bob")
	b.clock.Advance(time.Second)
	b.journal.take()
	third := b.create("ann")

	if _, err := b.Get(t.Context(), first.ID); err != session.ErrNotFound {
		t.Errorf("the oldest: %v", err)
	}
	for _, s := range []*session.Session{second, other, third} {
		b.get(s.ID)
	}
	ended := b.journal.of(session.EventEnded)
	if len(ended) != 1 || ended[0].Ref != first.Ref || ended[0].Reason != state.ReasonEvicted ||
		ended[0].Age != 2*time.Second || ended[0].User != "ann" || !strings.Contains(ended[0].By, third.Ref.String()) {
		t.Errorf("ended %+v", ended)
	}
}

func TestSingleSessionModeEndsAllOthers(t *testing.T) {
	b := newBench(t, session.Policy{})
	var old []*session.Session
	for range 4 {
		old = append(old, b.create("ann"))
	}
	b.journal.take()
	s, err := b.another(session.Policy{MaxPerUser: 1}).Create(t.Context(), session.CreateRequest{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	b.get(s.ID)
	for _, o := range old {
		if _, err := b.Get(t.Context(), o.ID); err != session.ErrNotFound {
			t.Errorf("another session: %v", err)
		}
	}
	if n := len(b.journal.of(session.EventEnded)); n != 4 {
		t.Errorf("%d endings", n)
	}
}

func TestRefusedLimits(t *testing.T) {
	for name, p := range map[string]session.Policy{
		"user":  {MaxPerUser: 2, RefuseOverLimit: true},
		"total": {MaxPerUser: -1, MaxTotal: 2},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, p)
			b.create("ann")
			last := b.create("ann")
			b.journal.take()
			_, err := b.Create(t.Context(), session.CreateRequest{User: "ann"})
			var limit *state.LimitError
			if !errors.Is(err, session.ErrLimit) || !errors.As(err, &limit) || limit.Scope != name || limit.Limit != 2 {
				t.Fatalf("got %v", err)
			}
			events := b.journal.take()
			if len(events) != 1 || events[0].Type != session.EventLimitRefused || events[0].User != "ann" {
				t.Errorf("events %+v", events)
			}
			if err := b.Delete(t.Context(), last.ID); err != nil {
				t.Fatal(err)
			}
			b.create("ann")
		})
	}
}

func TestAnonymousSessionsAreNotLimitedPerUser(t *testing.T) {
	b := newBench(t, session.Policy{MaxPerUser: 1})
	for range 10 {
		b.create("")
	}
	if n := b.count(); n != 10 {
		t.Errorf("%d sessions", n)
	}
}

func TestRacingCreatesHoldTheLimit(t *testing.T) {
	b := newBench(t, session.Policy{MaxPerUser: 3})
	other := b.another(session.Policy{MaxPerUser: 3})
	var wg sync.WaitGroup
	for i := range 64 {
		m := []*session.Manager{b.Manager, other}[i%2]
		wg.Go(func() {
			if _, err := m.Create(t.Context(), session.CreateRequest{User: "ann"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := b.count(); n != 3 {
		t.Errorf("%d sessions left", n)
	}
	created, ended := 0, map[state.Ref]int{}
	for _, e := range b.journal.take() {
		switch e.Type {
		case session.EventCreated:
			created++
		case session.EventEnded:
			ended[e.Ref]++
		}
	}
	if created != 64 || len(ended) != 61 {
		t.Errorf("%d created, %d ended", created, len(ended))
	}
	for ref, n := range ended {
		if n != 1 {
			t.Errorf("%v ended %d times", ref, n)
		}
	}
}

func TestCreateRefusesWhatTheStoreRefuses(t *testing.T) {
	b := newBench(t, session.Policy{})
	for name, c := range map[string]struct {
		req  session.CreateRequest
		want error
	}{
		"long user": {session.CreateRequest{User: strings.Repeat("u", state.MaxUserBytes+1)}, session.ErrTooLarge},
		"not JSON":  {session.CreateRequest{Data: map[string]json.RawMessage{"k": json.RawMessage("{")}}, session.ErrInvalid},
		"NUL":       {session.CreateRequest{Data: map[string]json.RawMessage{"k": json.RawMessage(`"\u0000"`)}}, session.ErrInvalid},
	} {
		if _, err := b.Create(t.Context(), c.req); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if len(b.journal.take()) != 0 || b.count() != 0 {
		t.Error("something was created")
	}
}

func TestCreateFindsOutAboutLostAnswers(t *testing.T) {
	unknown := fault{err: state.ErrUnknownOutcome}
	arrived := fault{arrives: true, err: state.ErrUnknownOutcome}
	for name, faults := range map[string][]fault{
		"it had arrived":        {arrived},
		"it had not":            {unknown},
		"nor had the second":    {unknown, unknown},
		"the second had":        {unknown, arrived},
		"the second was turned": {unknown, {err: state.ErrUnavailable}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, session.Policy{MaxPerUser: 1, RefuseOverLimit: true})
			b.store.next(faults...)
			s := b.create("ann")
			if got := b.get(s.ID); got.Version != 1 || b.count() != 1 {
				t.Errorf("got %+v", got)
			}
			if n := len(b.journal.of(session.EventCreated)); n != 1 {
				t.Errorf("%d events", n)
			}
		})
	}
	t.Run("never", func(t *testing.T) {
		b := newBench(t, session.Policy{})
		b.store.next(unknown, unknown, unknown, unknown, unknown, unknown)
		if _, err := b.Create(t.Context(), session.CreateRequest{}); !errors.Is(err, session.ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
		if len(b.journal.take()) != 0 {
			t.Error("reported")
		}
	})
}
