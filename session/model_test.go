package session_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A world is a model of what a Manager should have, beside the Manager.
type world struct {
	b        *bench
	policy   session.Policy
	sessions []*modelled
	created  int
	ended    map[state.Ref]int
}

// modelled is what the model knows of one session.
type modelled struct {
	id, old  session.ID // old works until oldUntil
	oldUntil time.Time
	user     string
	born     time.Time
	used     time.Time // the last use that was written
	idle     time.Time
	absolute time.Time
	value    int
	over     bool // ended, by a call
}

func (s *modelled) live(now time.Time) bool {
	return !s.over && now.Before(s.idle) && now.Before(s.absolute)
}

// evict ends the user's oldest until there is room for one more.
func (w *world) evict(user string) {
	now := w.b.clock.Now()
	var live []*modelled
	for _, s := range w.sessions {
		if s.user == user && s.live(now) {
			live = append(live, s)
		}
	}
	slices.SortFunc(live, func(a, b *modelled) int {
		if c := a.born.Compare(b.born); c != 0 {
			return c
		}
		return a.id.Ref().Compare(b.id.Ref())
	})
	for len(live) >= w.policy.MaxPerUser {
		live[0].over = true
		live = live[1:]
	}
}

func (w *world) create(t *rapid.T) {
	user := rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "user")
	if user != "" {
		w.evict(user)
	}
	s, now := w.b.create(user), w.b.clock.Now()
	w.sessions = append(w.sessions, &modelled{
		id: s.ID, user: user, born: now, used: now,
		idle: now.Add(w.policy.IdleTimeout + w.policy.TouchInterval), absolute: now.Add(w.policy.AbsoluteLifetime),
	})
}

func (w *world) draw(t *rapid.T) *modelled {
	if len(w.sessions) == 0 {
		t.Skip("no sessions")
	}
	return w.sessions[rapid.IntRange(0, len(w.sessions)-1).Draw(t, "session")]
}

// check compares an error with whether the session should have been there.
func (w *world) check(t *rapid.T, s *modelled, err error) bool {
	live := s.live(w.b.clock.Now())
	if live && err != nil || !live && err != session.ErrNotFound {
		t.Fatalf("live %v, but %v", live, err)
	}
	return live
}

func (w *world) access(t *rapid.T) {
	s, now := w.draw(t), w.b.clock.Now()
	_, err := w.b.Access(w.b.t.Context(), s.id, s.user)
	if w.check(t, s, err) && now.Sub(s.used) >= w.policy.TouchInterval {
		s.used = now
		if idle := now.Add(w.policy.IdleTimeout + w.policy.TouchInterval); idle.After(s.idle) {
			s.idle = idle
		}
		if s.idle.After(s.absolute) {
			s.idle = s.absolute
		}
	}
}

func (w *world) set(t *rapid.T) {
	s, value := w.draw(t), rapid.IntRange(1, 9).Draw(t, "value")
	if w.check(t, s, w.b.Set(w.b.t.Context(), s.id, "k", value)) {
		s.value = value
	}
}

func (w *world) regenerate(t *rapid.T) {
	s := w.draw(t)
	grace := rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "grace")
	next, err := w.b.Regenerate(w.b.t.Context(), s.id, grace)
	if w.check(t, s, err) {
		s.old, s.oldUntil, s.id = s.id, w.b.clock.Now().Add(grace), next.ID
	}
}

func (w *world) byOldID(t *rapid.T) {
	s, now := w.draw(t), w.b.clock.Now()
	got, err := w.b.Get(w.b.t.Context(), s.old)
	if s.live(now) && now.Before(s.oldUntil) {
		if err != nil || !got.Superseded || got.Ref != s.id.Ref() {
			t.Fatalf("within the grace: %+v, %v", got, err)
		}
	} else if err != session.ErrNotFound {
		t.Fatalf("without a grace: %v", err)
	}
}

func (w *world) extend(t *rapid.T) {
	s, now := w.draw(t), w.b.clock.Now()
	d := time.Duration(rapid.IntRange(1, 7200).Draw(t, "seconds")) * time.Second
	_, err := w.b.Extend(w.b.t.Context(), s.id, d)
	if w.check(t, s, err) {
		s.used, s.absolute = now, now.Add(d)
		if most := s.born.Add(w.policy.MaxLifetime); s.absolute.After(most) {
			s.absolute = most
		}
		s.idle = s.absolute
	}
}

func (w *world) end(t *rapid.T) {
	s := w.draw(t)
	if err := w.b.Delete(w.b.t.Context(), s.id); err != nil {
		t.Fatal(err)
	}
	// What has expired is ended by the sweep.
	s.over = s.over || s.live(w.b.clock.Now())
}

func (w *world) revokeUser(t *rapid.T) {
	user := rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user")
	want := 0
	for _, s := range w.sessions {
		if s.user == user && s.live(w.b.clock.Now()) {
			s.over = true
			want++
		}
	}
	if n, err := w.b.RevokeUser(w.b.t.Context(), user, "root"); n != want || err != nil {
		t.Fatalf("revoked %d of %d, %v", n, want, err)
	}
}

func (w *world) advance(t *rapid.T) {
	w.b.clock.Advance(time.Duration(rapid.IntRange(1, 1_000_000).Draw(t, "milliseconds")) * time.Millisecond)
}

func (w *world) sweep(t *rapid.T) {
	if _, err := w.b.Sweep(w.b.t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.sessions {
		s.over = s.over || !s.live(w.b.clock.Now())
	}
}

// invariants compares all that can be seen with the model.
func (w *world) invariants(t *rapid.T) {
	for _, e := range w.b.journal.take() {
		switch e.Type {
		case session.EventCreated:
			w.created++
		case session.EventEnded:
			w.ended[e.Ref]++
		}
	}
	live := 0
	for _, s := range w.sessions {
		want := 0
		if s.over {
			want = 1
		}
		if w.ended[s.id.Ref()] != want {
			t.Fatalf("%v: %d endings, want %d", s.id, w.ended[s.id.Ref()], want)
		}
		got, err := w.b.Get(w.b.t.Context(), s.id)
		if !w.check(t, s, err) {
			continue
		}
		live++
		var value int
		if _, err := got.Get("k", &value); err != nil || value != s.value || got.User != s.user {
			t.Fatalf("%v: value %d, want %d, %v", s.id, value, s.value, err)
		}
		if !got.IdleDeadline.Equal(s.idle) && !got.Expires().Equal(s.absolute) {
			t.Fatalf("%v: deadlines %v, %v, want %v, %v", s.id, got.IdleDeadline, got.AbsoluteDeadline, s.idle, s.absolute)
		}
	}
	if w.created != len(w.sessions) || w.b.count() != live {
		t.Fatalf("%d created, %d live, want %d and %d", w.created, w.b.count(), len(w.sessions), live)
	}
}

func TestManagerAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		policy := session.Policy{
			IdleTimeout: 10 * time.Minute, AbsoluteLifetime: time.Hour, MaxLifetime: 90 * time.Minute, MaxPerUser: 2,
		}.Defaults()
		w := &world{b: newBench(t, policy), policy: policy, ended: map[state.Ref]int{}}
		rt.Repeat(map[string]func(*rapid.T){
			"create": w.create, "access": w.access, "set": w.set, "regenerate": w.regenerate,
			"byOldID": w.byOldID, "extend": w.extend, "end": w.end, "revokeUser": w.revokeUser,
			"advance": w.advance, "sweep": w.sweep, "": w.invariants,
		})
	})
}
