package session_test

import (
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestEventTypesHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for e := session.EventCreated; e <= session.EventSignedIn; e++ {
		name := e.String()
		if name == "unknown" || seen[name] || state.CheckName("event", name) != nil {
			t.Errorf("%d is called %q", e, name)
		}
		seen[name] = true
	}
}

func TestEveryReasonIsExplainedInWords(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range []state.Reason{
		state.ReasonLogout, state.ReasonIdle, state.ReasonAbsolute, state.ReasonEvicted, state.ReasonRevoked,
		state.ReasonBinding, state.ReasonMigrated, state.ReasonReplaced, state.ReasonFailed, "of_its_own",
	} {
		text := session.Explanation{End: &state.End{Reason: r}}.String()
		if seen[text] || r == "of_its_own" && !strings.Contains(text, "of_its_own") {
			t.Errorf("%s: %q", r, text)
		}
		seen[text] = true
	}
	if (session.Explanation{}).String() != "nothing is known" {
		t.Error("the zero explanation explains something")
	}
}

func TestEventsAreInTheTimeOfTheStore(t *testing.T) {
	b := newBench(t, session.Policy{})
	skewed, err := session.NewManager(b.store, session.Options{
		Clock:   func() time.Time { return b.clock.Now().Add(-100 * time.Hour) },
		Observe: b.journal.observe,
	})
	if err != nil {
		t.Fatal(err)
	}
	// A process whose clock is wrong by days sees the same states and ages.
	s, err := skewed.Create(t.Context(), session.CreateRequest{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(30 * time.Second)
	got, err := skewed.Get(t.Context(), s.ID)
	if err != nil || got.Age() != 30*time.Second || got.State != session.Created {
		t.Errorf("got %+v, %v", got, err)
	}
	b.clock.Advance(30 * time.Second)
	if got, err = skewed.Access(t.Context(), s.ID, "ann"); err != nil || !got.LastAccessed.Equal(b.clock.Now()) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := skewed.Delete(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	events := b.journal.take()
	last := events[len(events)-1]
	if last.Type != session.EventEnded || last.Age != time.Minute || !last.At.Equal(b.clock.Now()) {
		t.Errorf("got %+v", last)
	}
}

func TestManagerSaysHowItWasMade(t *testing.T) {
	b := newBench(t, session.Policy{})
	m, err := session.NewManager(b.store, session.Options{Namespace: "prod", Kind: "basket", Policy: session.Policy{MaxPerUser: 9}})
	if err != nil {
		t.Fatal(err)
	}
	if m.Namespace() != "prod" || m.Kind() != "basket" || m.Policy().MaxPerUser != 9 || m.Policy().SecretBytes != 32 || m.Store() != state.Store(b.store) {
		t.Errorf("got %s, %s, %+v", m.Namespace(), m.Kind(), m.Policy())
	}
	s, err := m.Create(t.Context(), session.CreateRequest{})
	if err != nil || s.Kind != "basket" {
		t.Errorf("got %+v, %v", s, err)
	}
}
