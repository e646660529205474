package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestUpdate(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	b.journal.take()
	address := netip.MustParseAddr("192.0.2.1")
	b.clock.Advance(time.Second)
	got, err := b.Update(t.Context(), s.ID, func(s *session.Session) error {
		s.Metadata.Address = address
		// What may not be changed is not.
		s.User, s.Kind, s.Owner, s.Created = "eve", "other", "me", time.Time{}
		s.AbsoluteDeadline = s.AbsoluteDeadline.Add(time.Hour)
		return s.Set("basket", []string{"milk"})
	})
	if err != nil {
		t.Fatal(err)
	}
	stored := b.get(s.ID)
	for name, got := range map[string]*session.Session{"returned": got, "stored": stored} {
		var basket []string
		if found, err := got.Get("basket", &basket); !found || err != nil || len(basket) != 1 {
			t.Errorf("%s: %v, %v, %v", name, basket, found, err)
		}
		if got.Version != 2 || got.User != "ann" || got.Kind != "session" || got.Owner != "" || !got.Created.Equal(s.Created) ||
			!got.AbsoluteDeadline.Equal(s.AbsoluteDeadline) || got.Metadata.Address != address || !got.ID.Equal(s.ID) {
			t.Errorf("%s: %+v", name, got)
		}
		if !got.LastAccessed.Equal(s.LastAccessed) || !got.IdleDeadline.Equal(s.IdleDeadline) {
			t.Errorf("%s: an update is no access", name)
		}
	}
	events := b.journal.take()
	if len(events) != 1 || events[0].Type != session.EventUpdated || events[0].Size != len("ann")+len("basket")+len(`["milk"]`) ||
		!events[0].At.Equal(b.clock.Now()) {
		t.Errorf("events %+v", events)
	}
}

func TestUpdateThatChangesNothingWritesNothing(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	if err := b.Set(t.Context(), s.ID, "k", 1); err != nil {
		t.Fatal(err)
	}
	b.journal.take()
	for name, fn := range map[string]func(*session.Session) error{
		"nothing":      func(*session.Session) error { return nil },
		"the same":     func(s *session.Session) error { return s.Set("k", 1) },
		"back and":     func(s *session.Session) error { s.Delete("k"); return s.Set("k", 1) },
		"what is not":  func(s *session.Session) error { s.Delete("other"); return nil },
		"other fields": func(s *session.Session) error { s.User = "eve"; s.Version = 9; return nil },
	} {
		got, err := b.Update(t.Context(), s.ID, fn)
		if err != nil || got.Version != 2 || got.User != "ann" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if n := len(b.journal.take()); n != 0 || b.store.writes(state.UpdateOp{}) != 1 {
		t.Errorf("%d events, %d writes", n, b.store.writes(state.UpdateOp{}))
	}
}

func TestUpdateCanEmptyTheData(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	if err := b.Set(t.Context(), s.ID, "k", 1); err != nil {
		t.Fatal(err)
	}
	got, err := b.Update(t.Context(), s.ID, func(s *session.Session) error { s.Data = nil; return nil })
	if err != nil || len(got.Data) != 0 || len(b.get(s.ID).Data) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestUpdateReturnsWhatIsStored(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	if err := b.Set(t.Context(), s.ID, "k", 1); err != nil {
		t.Fatal(err)
	}
	got, err := b.Update(t.Context(), s.ID, func(s *session.Session) error {
		old := s.Data
		s.Data = maps.Clone(old)
		clear(old)
		return nil
	})
	if err != nil || len(got.Data) != 1 || len(b.get(s.ID).Data) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// stale is a store whose reads are behind for a while.
type stale struct {
	state.Store
	old   state.Record
	reads int
}

func (s *stale) Get(ctx context.Context, k state.Key) (state.Record, error) {
	if s.reads > 0 {
		s.reads--
		return s.old.Clone(), nil
	}
	return s.Store.Get(ctx, k)
}

func TestUpdateOnAStaleReadWaitsForAFreshOne(t *testing.T) {
	b := newBench(t, session.Policy{})
	id := b.create("ann").ID
	old, err := b.store.Get(t.Context(), state.Key{Namespace: "default", Ref: id.Ref()})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Set(t.Context(), id, "k", 1); err != nil {
		t.Fatal(err)
	}
	m, err := session.NewManager(&stale{Store: b.store, old: old, reads: 5}, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	got, err := m.Update(t.Context(), id, func(s *session.Session) error {
		runs++
		return s.Set("mine", 1)
	})
	if err != nil || len(got.Data) != 2 || runs != 2 {
		t.Errorf("got %+v, %v after %d runs", got, err, runs)
	}
}

func TestErrorOfTheFunctionIsReturnedAsItIs(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	mine := errors.New("mine")
	if _, err := b.Update(t.Context(), s.ID, func(s *session.Session) error {
		_ = s.Set("k", 1)
		return mine
	}); err != mine {
		t.Errorf("got %v", err)
	}
	if len(b.get(s.ID).Data) != 0 {
		t.Error("written")
	}
}

func TestReservedKeysAreProtected(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	const key = session.ReservedPrefix + "mcp"
	if _, err := b.UpdateRef(t.Context(), s.Ref, func(s *session.Session) error { return s.Set(key, 1) }); err != nil {
		t.Fatal(err)
	}
	for name, fn := range map[string]func(*session.Session) error{
		"changed": func(s *session.Session) error { return s.Set(key, 2) },
		"added":   func(s *session.Session) error { return s.Set(session.ReservedPrefix, 2) },
		"removed": func(s *session.Session) error { s.Delete(key); return nil },
		"dropped": func(s *session.Session) error { s.Data = map[string]json.RawMessage{}; return nil },
	} {
		if _, err := b.Update(t.Context(), s.ID, fn); !errors.Is(err, session.ErrReservedKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.Set(t.Context(), s.ID, key, 3); !errors.Is(err, session.ErrReservedKey) {
		t.Errorf("set: %v", err)
	}
	if err := b.Set(t.Context(), s.ID, "coatcheck", 3); err != nil {
		t.Errorf("a key that is not reserved: %v", err)
	}
	got := b.get(s.ID)
	if string(got.Data[key]) != "1" || len(got.Data) != 2 {
		t.Errorf("stored %s", got.Data)
	}
}

func TestConcurrentUpdatesLoseNothing(t *testing.T) {
	b := newBench(t, session.Policy{})
	id := b.create("ann").ID
	managers := []*session.Manager{b.Manager, b.another(session.Policy{})}
	const workers, rounds = 16, 25
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range rounds {
				_, err := managers[w%2].Update(t.Context(), id, func(s *session.Session) error {
					var n int
					if _, err := s.Get("n", &n); err != nil {
						return err
					}
					return s.Set("n", n+1)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	got := b.get(id)
	if _, err := got.Get("n", &n); err != nil || n != workers*rounds || got.Version != workers*rounds+1 {
		t.Errorf("%d of %d, version %d, %v", n, workers*rounds, got.Version, err)
	}
	if events := b.journal.of(session.EventUpdated); len(events) != workers*rounds {
		t.Errorf("%d events", len(events))
	}
}

func TestUpdateThatKeepsLosing(t *testing.T) {
	b := newBench(t, session.Policy{})
	id := b.create("ann").ID
	runs := 0
	_, err := b.Update(t.Context(), id, func(s *session.Session) error {
		runs++
		if err := b.Set(t.Context(), id, "other", runs); err != nil {
			return err
		}
		return s.Set("mine", runs)
	})
	if !errors.Is(err, session.ErrConflict) || runs < 10 {
		t.Errorf("%v after %d runs", err, runs)
	}
	if _, found := b.get(id).Data["mine"]; found {
		t.Error("written")
	}
}

func TestUpdateStopsWithItsContext(t *testing.T) {
	b := newBench(t, session.Policy{})
	id := b.create("ann").ID
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.Update(ctx, id, func(s *session.Session) error {
		cancel()
		if err := b.Set(t.Context(), id, "other", s.Version); err != nil {
			return err
		}
		return s.Set("mine", 1)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// No path through the Manager brings back what has ended while it was in use.
func TestEndedSessionStaysEnded(t *testing.T) {
	ends := map[string]func(b *bench, id session.ID){
		"logout": func(b *bench, id session.ID) {
			if err := b.Delete(b.t.Context(), id); err != nil {
				b.t.Error(err)
			}
		},
		"revoked": func(b *bench, id session.ID) {
			if ok, err := b.Revoke(b.t.Context(), id.Ref(), state.ReasonRevoked, "root"); !ok || err != nil {
				b.t.Error(ok, err)
			}
		},
		"evicted": func(b *bench, _ session.ID) {
			b.clock.Advance(time.Second) // it is the oldest
			for range 5 {
				b.create("ann")
			}
		},
		"expired": func(b *bench, _ session.ID) { b.clock.Advance(25 * time.Hour) },
		"swept": func(b *bench, _ session.ID) {
			b.clock.Advance(25 * time.Hour)
			if n, err := b.Sweep(b.t.Context()); n != 1 || err != nil {
				b.t.Error(n, err)
			}
		},
	}
	uses := map[string]func(b *bench, id session.ID, end func()) error{
		"update": func(b *bench, id session.ID, end func()) error {
			_, err := b.Update(b.t.Context(), id, func(s *session.Session) error { end(); return s.Set("k", 1) })
			return err
		},
		"update by ref": func(b *bench, id session.ID, end func()) error {
			_, err := b.UpdateRef(b.t.Context(), id.Ref(), func(s *session.Session) error { end(); return s.Set("k", 1) })
			return err
		},
		"access": func(b *bench, id session.ID, end func()) error {
			b.clock.Advance(time.Minute)
			m := b.between(end)
			_, err := m.Access(b.t.Context(), id, "ann")
			return err
		},
		"extend": func(b *bench, id session.ID, end func()) error {
			_, err := b.between(end).Extend(b.t.Context(), id, time.Hour)
			return err
		},
		"regenerate": func(b *bench, id session.ID, end func()) error {
			_, err := b.between(end).Regenerate(b.t.Context(), id, time.Minute)
			return err
		},
	}
	for use, run := range uses {
		for how, end := range ends {
			t.Run(use+"/"+how, func(t *testing.T) {
				b := newBench(t, session.Policy{})
				id := b.create("ann").ID
				if err := run(b, id, func() { end(b, id) }); err != session.ErrNotFound {
					t.Errorf("got %v", err)
				}
				if _, err := b.Get(t.Context(), id); err != session.ErrNotFound {
					t.Errorf("it is back: %v", err)
				}
				if _, err := b.Lookup(t.Context(), id.Ref()); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("it is back: %v", err)
				}
			})
		}
	}
}

// between returns a Manager before whose next write something happens.
func (b *bench) between(do func()) *session.Manager {
	m, err := session.NewManager(&interrupted{Store: b.store, do: do}, session.Options{Clock: b.clock.Now})
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

type interrupted struct {
	state.Store
	once sync.Once
	do   func()
}

func (i *interrupted) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	i.once.Do(i.do)
	return i.Store.Apply(ctx, ops...)
}

func TestUpdateFindsOutAboutLostAnswers(t *testing.T) {
	unknown := fault{err: state.ErrUnknownOutcome}
	arrived := fault{arrives: true, err: state.ErrUnknownOutcome}
	other := func(b *bench, id session.ID) func() {
		return func() {
			// Not through the faulty store.
			m, err := session.NewManager(b.store.Store, session.Options{})
			if err != nil {
				b.t.Error(err)
				return
			}
			if err := m.Set(b.t.Context(), id, "other", 1); err != nil {
				b.t.Error(err)
			}
		}
	}
	increment := func(s *session.Session) error {
		var n int
		if _, err := s.Get("n", &n); err != nil {
			return err
		}
		return s.Set("n", n+1)
	}
	for name, c := range map[string]struct {
		faults func(b *bench, id session.ID) []fault
		want   error
	}{
		"it had arrived":     {func(*bench, session.ID) []fault { return []fault{arrived} }, nil},
		"it had not":         {func(*bench, session.ID) []fault { return []fault{unknown} }, nil},
		"nor had the second": {func(*bench, session.ID) []fault { return []fault{unknown, arrived} }, nil},
		"another came before it": {func(b *bench, id session.ID) []fault {
			return []fault{{err: state.ErrUnknownOutcome, then: other(b, id)}}
		}, nil},
		"another came after it": {func(b *bench, id session.ID) []fault {
			return []fault{{arrives: true, err: state.ErrUnknownOutcome, then: other(b, id)}}
		}, session.ErrUnknownOutcome},
		"never": {func(*bench, session.ID) []fault {
			return []fault{unknown, unknown, unknown, unknown, unknown, unknown, unknown}
		}, session.ErrUnknownOutcome},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, session.Policy{})
			id := b.create("ann").ID
			b.journal.take()
			b.store.next(c.faults(b, id)...)
			_, err := b.Update(t.Context(), id, increment)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v", err)
			}
			var n int
			if _, err := b.get(id).Get("n", &n); err != nil || n > 1 || (c.want == nil && n != 1) {
				t.Errorf("incremented %d times, %v", n, err)
			}
			if events := b.journal.of(session.EventUpdated); c.want == nil && len(events) != 1 {
				t.Errorf("%d events", len(events))
			}
		})
	}
}

func TestSnapshotValues(t *testing.T) {
	var s session.Session
	if err := s.Set("k", map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	var got map[string]int
	if found, err := s.Get("k", &got); !found || err != nil || got["a"] != 1 {
		t.Errorf("%v, %v, %v", got, found, err)
	}
	if found, err := s.Get("none", &got); found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	_ = s.Set("text", "private words")
	var n int
	found, err := s.Get("text", &n)
	if !found || err == nil || err.Error() != `value of key "text" does not fit into *int` {
		t.Errorf("%v, %v", found, err)
	}
	if err := s.Set("fn", func() {}); err == nil {
		t.Error("encoded a function")
	}
	s.Delete("k")
	if _, found := s.Data["k"]; found {
		t.Error("not deleted")
	}
}
