package session_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestRegenerateWithGrace(t *testing.T) {
	b := newBench(t, session.Policy{})
	old := b.create("ann").ID
	b.journal.take()
	s, err := b.Regenerate(t.Context(), old, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID.Equal(old) || s.Ref != old.Ref() || s.Superseded || s.Version != 2 {
		t.Errorf("got %+v", s)
	}
	if events := b.journal.take(); len(events) != 1 || events[0].Type != session.EventRegenerated {
		t.Errorf("events %+v", events)
	}
	if b.get(s.ID).Superseded {
		t.Error("the new id is called superseded")
	}
	// The old one works, and leads to the same session.
	b.clock.Advance(30*time.Second - time.Millisecond)
	got := b.access(old, "ann")
	if !got.Superseded || got.Ref != s.Ref {
		t.Errorf("got %+v", got)
	}
	if err := b.Set(t.Context(), old, "k", 1); err != nil {
		t.Errorf("update by the old id: %v", err)
	}
	if !got.Next.Equal(s.ID) {
		t.Error("the old id does not lead to the new one")
	}
	// Regenerated once more it leads there too, and changes nothing.
	again, err := b.another(session.Policy{}).Regenerate(t.Context(), old, time.Hour)
	if err != nil || !again.ID.Equal(s.ID) || again.Superseded || again.Version != 3 {
		t.Errorf("regenerated the old id: %+v, %v", again, err)
	}
	if n := len(b.journal.of(session.EventRegenerated)); n != 0 {
		t.Errorf("%d regenerations reported", n)
	}
	b.clock.Advance(time.Millisecond)
	if _, err := b.Get(t.Context(), old); err != session.ErrNotFound {
		t.Errorf("after the grace: %v", err)
	}
	if _, found := b.get(s.ID).Data["k"]; !found {
		t.Error("the update is lost")
	}
}

func TestRegenerateWithoutGrace(t *testing.T) {
	b := newBench(t, session.Policy{})
	old := b.create("ann").ID
	s, err := b.Regenerate(t.Context(), old, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), old); err != session.ErrNotFound {
		t.Errorf("the old id: %v", err)
	}
	b.get(s.ID)
	// Nor does an older one live on through the next.
	s2, err := b.Regenerate(t.Context(), s.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	s3, err := b.Regenerate(t.Context(), s2.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), s.ID); err != session.ErrNotFound {
		t.Errorf("the id before the last: %v", err)
	}
	b.get(s2.ID)
	b.get(s3.ID)
}

func TestRacingRegenerationsMakeOneID(t *testing.T) {
	const racing = 16
	for _, grace := range []time.Duration{0, time.Minute} {
		b := newBench(t, session.Policy{})
		old := b.create("ann").ID
		var (
			wg  sync.WaitGroup
			mu  sync.Mutex // guards won
			won []session.ID
		)
		for range racing {
			wg.Go(func() {
				s, err := b.Regenerate(t.Context(), old, grace)
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					won = append(won, s.ID)
					return
				}
				if grace > 0 || err != session.ErrNotFound {
					t.Errorf("grace %v: %v", grace, err)
				}
			})
		}
		wg.Wait()
		if grace == 0 && len(won) != 1 || grace > 0 && len(won) != racing {
			t.Fatalf("grace %v: %d won", grace, len(won))
		}
		for _, id := range won {
			if !id.Equal(won[0]) {
				t.Fatalf("grace %v: two ids", grace)
			}
		}
		if s := b.get(won[0]); s.Version != 2 || s.Superseded {
			t.Errorf("grace %v: %+v", grace, s)
		}
	}
}

func TestPrivilegesChangeTogetherWithTheID(t *testing.T) {
	b := newBench(t, session.Policy{})
	old := b.create("ann").ID
	s, err := b.Elevate(t.Context(), old, func(s *session.Session) error { return s.Set("role", "admin") })
	if err != nil || s.Version != 2 {
		t.Fatalf("got %+v, %v", s, err)
	}
	if _, err := b.Get(t.Context(), old); err != session.ErrNotFound {
		t.Errorf("the old id: %v", err)
	}
	if got := b.get(s.ID); string(got.Data["role"]) != `"admin"` {
		t.Errorf("data %s", got.Data)
	}
	// What fn refuses leaves id and data as they were.
	refusal := errors.New("no")
	if _, err := b.Elevate(t.Context(), s.ID, func(*session.Session) error { return refusal }); err != refusal {
		t.Errorf("got %v", err)
	}
	if _, err := b.Elevate(t.Context(), s.ID, func(s *session.Session) error {
		return s.Set(session.ReservedPrefix+"authenticated", 1)
	}); err != session.ErrReservedKey {
		t.Errorf("reserved key: %v", err)
	}
	b.get(s.ID)
}

// A request that still has the old id, within its grace, may change privileges:
// both ids from before end.
func TestPrivilegesChangeByASupersededID(t *testing.T) {
	b := newBench(t, session.Policy{})
	old := b.create("ann").ID
	current, err := b.Regenerate(t.Context(), old, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Elevate(t.Context(), old, func(s *session.Session) error { return s.Set("role", "admin") })
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []session.ID{old, current.ID} {
		if _, err := b.Get(t.Context(), id); err != session.ErrNotFound {
			t.Errorf("an id from before: %v", err)
		}
	}
	if got := b.get(s.ID); !got.Next.IsZero() || got.Superseded {
		t.Errorf("got %+v", got)
	}
}

// Whoever knows what the record holds, but no id, does not come to one.
func TestTheSaltAloneLeadsNowhere(t *testing.T) {
	b := newBench(t, session.Policy{})
	first := b.create("ann")
	next, err := b.Regenerate(t.Context(), first.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Regenerate(t.Context(), b.create("ann").ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	// The salt of one session put into another does not lead anywhere.
	if _, err := b.UpdateRef(t.Context(), first.Ref, func(s *session.Session) error {
		s.Data = other.Data
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s := b.get(first.ID)
	if !s.Superseded || !s.Next.IsZero() {
		t.Errorf("got %+v", s)
	}
	if _, err := b.Regenerate(t.Context(), first.ID, time.Minute); err != session.ErrSuperseded {
		t.Errorf("got %v", err)
	}
	b.get(next.ID)
}

func TestAClientThatCannotBeToldKeepsItsID(t *testing.T) {
	b := newBench(t, session.Policy{RegenerateInterval: time.Minute})
	s, err := b.Create(t.Context(), session.CreateRequest{FixedID: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() (*session.Session, error){
		"regenerate": func() (*session.Session, error) { return b.Regenerate(t.Context(), s.ID, time.Minute) },
		"elevate": func() (*session.Session, error) {
			return b.Elevate(t.Context(), s.ID, func(*session.Session) error { return nil })
		},
		"sign in": func() (*session.Session, error) {
			return b.SignIn(t.Context(), s.ID, session.SignInRequest{User: "ann"})
		},
	} {
		if _, err := call(); err != session.ErrFixedID {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.clock.Advance(time.Hour)
	if got := b.access(s.ID, ""); got.RegenerateDue || got.Version != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestRegenerateKeepsConcurrentUpdates(t *testing.T) {
	b := newBench(t, session.Policy{RegenerateInterval: time.Hour})
	id := b.create("ann").ID
	m, err := session.NewManager(&interrupted{Store: b.store, do: func() {
		if err := b.Set(t.Context(), id, "k", 1); err != nil {
			t.Error(err)
		}
	}}, session.Options{Policy: session.Policy{RegenerateInterval: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Regenerate(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, found := b.get(s.ID).Data["k"]; !found {
		t.Error("the update is lost")
	}
}

func TestRegenerateFindsOutAboutLostAnswers(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Minute} {
		for _, arrives := range []bool{false, true} {
			b := newBench(t, session.Policy{})
			old := b.create("ann").ID
			b.store.next(fault{arrives: arrives, err: state.ErrUnknownOutcome})
			s, err := b.Regenerate(t.Context(), old, grace)
			if err != nil {
				t.Fatalf("grace %v, arrived %v: %v", grace, arrives, err)
			}
			b.get(s.ID)
		}
	}
}

func TestRegenerationBecomesDue(t *testing.T) {
	b := newBench(t, session.Policy{RegenerateInterval: 10 * time.Minute})
	s := b.create("ann")
	if s.RegenerateDue {
		t.Error("due at once")
	}
	b.clock.Advance(10*time.Minute - time.Millisecond)
	if b.get(s.ID).RegenerateDue {
		t.Error("due early")
	}
	b.clock.Advance(time.Millisecond)
	if !b.get(s.ID).RegenerateDue {
		t.Error("not due")
	}
	next, err := b.Regenerate(t.Context(), s.ID, b.Policy().RegenerateGrace)
	if err != nil {
		t.Fatal(err)
	}
	if next.RegenerateDue || b.get(next.ID).RegenerateDue || b.get(s.ID).RegenerateDue {
		t.Error("due again at once")
	}
	b.clock.Advance(10 * time.Minute)
	if !b.get(next.ID).RegenerateDue {
		t.Error("not due again")
	}
	if newBench(t, session.Policy{}).create("ann").RegenerateDue {
		t.Error("due without an interval")
	}
}

func TestExtend(t *testing.T) {
	b := newBench(t, session.Policy{AbsoluteLifetime: 2 * time.Hour, MaxLifetime: 4 * time.Hour})
	id := b.create("ann").ID
	b.journal.take()
	for _, c := range []struct{ ask, get time.Duration }{
		{3 * time.Hour, 3 * time.Hour},
		{time.Minute, time.Minute},
		{100 * time.Hour, 4 * time.Hour},
		{time.Hour, time.Hour},
	} {
		s, err := b.Extend(t.Context(), id, c.ask)
		if err != nil {
			t.Fatal(err)
		}
		if s.Remaining != c.get || !s.Expires().Equal(b.clock.Now().Add(c.get)) {
			t.Errorf("%v gave %v", c.ask, s.Remaining)
		}
	}
	if events := b.journal.take(); len(events) != 4 || events[0].Type != session.EventExtended {
		t.Errorf("events %+v", events)
	}
	for _, d := range []time.Duration{0, -time.Hour, time.Microsecond} {
		if _, err := b.Extend(t.Context(), id, d); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("%v: %v", d, err)
		}
	}
	b.clock.Advance(time.Hour)
	if _, err := b.Extend(t.Context(), id, time.Hour); err != session.ErrNotFound {
		t.Errorf("revived: %v", err)
	}
}
