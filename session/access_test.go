package session_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestStates(t *testing.T) {
	b := newBench(t, session.Policy{})
	id := b.create("ann").ID
	is := func(want session.State) {
		t.Helper()
		if got := b.get(id).State; got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	is(session.Created)
	b.clock.Advance(10 * time.Minute)
	is(session.Created) // nobody has used it
	b.access(id, "ann")
	is(session.Active)
	b.clock.Advance(5*time.Minute - time.Millisecond)
	is(session.Active)
	b.clock.Advance(time.Millisecond)
	is(session.Idle)
	if got := b.access(id, "ann").State; got != session.Active {
		t.Errorf("after an access: %v", got)
	}
	is(session.Active)
	b.clock.Advance(2*time.Hour + time.Minute)
	expired := session.Expired
	for s, err := range b.List(t.Context(), session.Query{State: &expired}) {
		if err != nil || s.State != session.Expired || s.Ref != id.Ref() {
			t.Errorf("listed %+v, %v", s, err)
		}
	}
	if n, err := b.Count(t.Context(), session.Query{State: &expired}); n != 1 || err != nil {
		t.Errorf("%d expired, %v", n, err)
	}
}

func TestReactivationIsReportedOnce(t *testing.T) {
	b := newBench(t, session.Policy{})
	id := b.create("ann").ID
	b.clock.Advance(10 * time.Minute)
	b.access(id, "ann") // from created: no reactivation
	if n := len(b.journal.of(session.EventReactivated)); n != 0 {
		t.Errorf("%d reactivations of a new session", n)
	}
	b.clock.Advance(10 * time.Minute)
	b.get(id)
	if _, err := b.Authorize(t.Context(), id, "ann"); err != nil {
		t.Fatal(err)
	}
	if n := len(b.journal.take()); n != 0 {
		t.Errorf("%d events without an access", n)
	}
	b.access(id, "ann")
	b.access(id, "ann")
	events := b.journal.take()
	if len(events) != 1 || events[0].Type != session.EventReactivated || events[0].Ref != id.Ref() || events[0].User != "ann" {
		t.Errorf("events %+v", events)
	}
}

func TestUseIsWrittenAtMostOncePerInterval(t *testing.T) {
	b := newBench(t, session.Policy{})
	other := b.another(session.Policy{})
	id := b.create("ann").ID
	for range 600 { // ten minutes, a request each second, on two replicas in turn
		b.clock.Advance(time.Second)
		b.access(id, "ann")
		if _, err := other.Access(t.Context(), id, "ann"); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.store.writes(state.TouchOp{}); n != 10 {
		t.Errorf("%d touches in ten intervals", n)
	}
	if v := b.get(id).Version; v != 1 {
		t.Errorf("version %d", v)
	}
}

func TestIdleTimeout(t *testing.T) {
	policy := session.Policy{IdleTimeout: 10 * time.Minute, TouchInterval: time.Minute}

	t.Run("a session in use never ends early", func(t *testing.T) {
		b := newBench(t, policy)
		id := b.create("ann").ID
		// The worst case: the second of two accesses falls just short of
		// being written, and the next comes just within the timeout.
		for range 20 {
			b.access(id, "ann")
			b.clock.Advance(time.Minute - time.Millisecond)
			b.access(id, "ann")
			b.clock.Advance(10 * time.Minute)
		}
		b.access(id, "ann")
	})

	t.Run("one out of use ends at most an interval late", func(t *testing.T) {
		for _, written := range []bool{true, false} {
			b := newBench(t, policy)
			id := b.create("ann").ID
			if written {
				b.clock.Advance(time.Minute)
				b.access(id, "ann")
			}
			b.clock.Advance(11 * time.Minute)
			if _, err := b.Get(t.Context(), id); err != session.ErrNotFound {
				t.Errorf("written %v: %v", written, err)
			}
		}
	})
}

func TestUseDoesNotOutliveTheAbsoluteLifetime(t *testing.T) {
	b := newBench(t, session.Policy{AbsoluteLifetime: time.Hour})
	id := b.create("ann").ID
	for range 59 {
		b.clock.Advance(time.Minute)
		b.access(id, "ann")
		if err := b.Touch(t.Context(), id.Ref()); err != nil {
			t.Fatal(err)
		}
	}
	b.clock.Advance(time.Minute)
	if _, err := b.Access(t.Context(), id, "ann"); err != session.ErrNotFound {
		t.Errorf("got %v", err)
	}
	if err := b.Touch(t.Context(), id.Ref()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("touch: %v", err)
	}
}

func TestEverythingThatOpensNothingLooksTheSame(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	unknown := b.create("ann")
	if err := b.Delete(t.Context(), unknown.ID); err != nil {
		t.Fatal(err)
	}
	expired := newBench(t, session.Policy{}).create("ann") // of another store: never issued here
	forged := b.create("ann").ID.Reveal()
	wrong, err := session.ParseID(s.Ref.String() + forged[28:])
	if err != nil {
		t.Fatal(err)
	}
	kinds, err := session.NewManager(b.store, session.Options{Kind: "basket"})
	if err != nil {
		t.Fatal(err)
	}
	basket, err := kinds.Create(t.Context(), session.CreateRequest{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	spaces, err := session.NewManager(b.store, session.Options{Namespace: "elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := spaces.Create(t.Context(), session.CreateRequest{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id   session.ID
		user string
	}{
		"ended":             {unknown.ID, "ann"},
		"never issued":      {expired.ID, "ann"},
		"wrong secret":      {wrong, "ann"},
		"another's":         {s.ID, "bob"},
		"without a user":    {s.ID, ""},
		"another case":      {s.ID, "Ann"},
		"another kind":      {basket.ID, "ann"},
		"another namespace": {elsewhere.ID, "ann"},
		"none":              {session.ID{}, "ann"},
	} {
		gets := b.store.writes(state.TouchOp{})
		for method, call := range map[string]func() error{
			"authorize": func() error { _, err := b.Authorize(t.Context(), c.id, c.user); return err },
			"access":    func() error { _, err := b.Access(t.Context(), c.id, c.user); return err },
		} {
			// The very value: there is nothing to tell them apart by.
			if err := call(); err != session.ErrNotFound {
				t.Errorf("%s, %s: %#v", name, method, err)
			}
		}
		if b.store.writes(state.TouchOp{}) != gets {
			t.Errorf("%s: touched", name)
		}
	}
	mismatches := b.journal.of(session.EventBindingMismatch)
	if len(mismatches) != 6 {
		t.Errorf("%d mismatches of 3 wrong users", len(mismatches))
	}
	for _, e := range mismatches {
		if e.Ref != s.Ref || e.User != "ann" || e.By == "ann" {
			t.Errorf("mismatch %+v", e)
		}
	}
	if _, err := b.Authorize(t.Context(), s.ID, "ann"); err != nil {
		t.Errorf("its own user: %v", err)
	}
}

func TestOutageIsNeverNotFound(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	ctx := t.Context()
	down, err := session.NewManager(outage{b.store}, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"create": func() error { _, err := down.Create(ctx, session.CreateRequest{}); return err },
		"get":    func() error { _, err := down.Get(ctx, s.ID); return err },
		"access": func() error { _, err := down.Access(ctx, s.ID, "ann"); return err },
		"lookup": func() error { _, err := down.Lookup(ctx, s.Ref); return err },
		"touch":  func() error { return down.Touch(ctx, s.Ref) },
		"set":    func() error { return down.Set(ctx, s.ID, "k", 1) },
		"updateref": func() error {
			_, err := down.UpdateRef(ctx, s.Ref, func(*session.Session) error { return nil })
			return err
		},
		"extend":     func() error { _, err := down.Extend(ctx, s.ID, time.Hour); return err },
		"regenerate": func() error { _, err := down.Regenerate(ctx, s.ID, 0); return err },
		"sign in":    func() error { _, err := down.SignIn(ctx, s.ID, session.SignInRequest{User: "ann"}); return err },
		"delete":     func() error { return down.Delete(ctx, s.ID) },
		"revoke":     func() error { _, err := down.Revoke(ctx, s.Ref, state.ReasonRevoked, "x"); return err },
		"explain":    func() error { _, err := down.Explain(ctx, s.Ref); return err },
	} {
		if err := call(); !errors.Is(err, session.ErrUnavailable) || errors.Is(err, session.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.get(s.ID)
}

// outage is a store that cannot be reached.
type outage struct{ state.Store }

func (outage) Get(context.Context, state.Key) (state.Record, error) {
	return state.Record{}, state.ErrUnavailable
}

func (outage) Apply(_ context.Context, ops ...state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	for i := range results {
		results[i].Err = state.ErrUnavailable
	}
	return results
}

func TestTouchThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault fault
		want  error
	}{
		"outage":          {fault{err: state.ErrUnavailable}, nil},
		"full":            {fault{err: state.ErrFull}, nil},
		"unknown outcome": {fault{err: state.ErrUnknownOutcome}, nil},
		"ended meanwhile": {fault{err: &state.NotFoundError{}}, session.ErrNotFound},
	} {
		b := newBench(t, session.Policy{})
		id := b.create("ann").ID
		deadline := b.get(id).IdleDeadline
		b.clock.Advance(time.Hour)
		b.journal.take()
		b.store.next(c.fault)
		s, err := b.Access(t.Context(), id, "ann")
		if err != c.want {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil && (!s.IdleDeadline.Equal(deadline) || s.State != session.Active) {
			t.Errorf("%s: got %+v", name, s)
		}
		if n := len(b.journal.take()); n != 0 {
			t.Errorf("%s: %d events", name, n)
		}
	}
}

func TestAccessGivesUpWithItsContext(t *testing.T) {
	b := newBench(t, session.Policy{})
	id := b.create("ann").ID
	b.clock.Advance(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	b.store.next(fault{err: state.ErrUnknownOutcome, then: cancel})
	if _, err := b.Access(ctx, id, "ann"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRequestsAtTheSameMomentShareATouch(t *testing.T) {
	for name, c := range map[string]struct {
		err           error
		want          error
		reactivations int
	}{
		"written":  {nil, nil, 1},
		"outage":   {state.ErrUnavailable, nil, 0},
		"it ended": {state.ErrNotFound, session.ErrNotFound, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, session.Policy{})
				id := b.create("ann").ID
				b.clock.Advance(time.Minute)
				b.access(id, "ann")
				b.clock.Advance(time.Hour)
				b.journal.take()
				before := b.store.writes(state.TouchOp{})

				release := make(chan struct{})
				b.store.next(fault{before: func() { <-release }, arrives: c.err == nil, err: c.err})
				var all sync.WaitGroup
				for range 16 {
					all.Go(func() {
						s, err := b.Access(t.Context(), id, "ann")
						if err != c.want || err == nil && s.State != session.Active {
							t.Errorf("got %+v, %v", s, err)
						}
					})
				}
				// One whose patience ends does not wait for the others.
				ctx, cancel := context.WithCancel(t.Context())
				all.Go(func() {
					synctest.Wait()
					if _, err := b.Access(ctx, id, "ann"); !errors.Is(err, context.Canceled) {
						t.Errorf("got %v", err)
					}
				})
				time.Sleep(time.Second) // until all wait
				cancel()
				synctest.Wait()
				close(release)
				all.Wait()
				if got := b.store.writes(state.TouchOp{}) - before; c.err == nil && got != 1 || c.err != nil && got != 0 {
					t.Errorf("%d touches", got)
				}
				if got := len(b.journal.of(session.EventReactivated)); got != c.reactivations {
					t.Errorf("%d reactivations", got)
				}
			})
		})
	}
}

func TestLookupTellsOperatorsHowASessionEnded(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	got, err := b.Lookup(t.Context(), s.Ref)
	if err != nil || !got.ID.IsZero() || got.User != "ann" || got.Superseded {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := b.Revoke(t.Context(), s.Ref, state.ReasonRevoked, "root"); err != nil {
		t.Fatal(err)
	}
	_, err = b.Lookup(t.Context(), s.Ref)
	var nf *state.NotFoundError
	if !errors.Is(err, session.ErrNotFound) || !errors.As(err, &nf) || nf.End == nil || nf.End.By != "root" {
		t.Errorf("got %v", err)
	}
}

func TestResumeTakesTheUserFromTheSession(t *testing.T) {
	b := newBench(t, session.Policy{Binding: session.Binding{UserAgent: true}})
	s, err := b.Create(t.Context(), session.CreateRequest{User: "ann", Metadata: state.Metadata{UserAgent: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(b.Policy().TouchInterval)
	for _, user := range []string{"", "ann", "eve"} {
		got, err := b.Resume(t.Context(), s.ID, session.Caller{User: user, UserAgent: "one"})
		if err != nil || got.User != "ann" || got.State != session.Active {
			t.Errorf("as %q: %v", user, err)
		}
	}
	if n := b.store.writes(state.TouchOp{}); n != 1 {
		t.Errorf("three uses at one moment were noted %d times", n)
	}
	if _, err := b.Resume(t.Context(), s.ID, session.Caller{UserAgent: "two"}); err != session.ErrNotFound {
		t.Errorf("by another agent: %v", err)
	}
}
