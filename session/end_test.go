package session_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestDelete(t *testing.T) {
	b := newBench(t, session.Policy{})
	s, other := b.create("ann"), b.create("ann")
	b.clock.Advance(3 * time.Second)
	b.journal.take()
	forged, err := session.ParseID(s.Ref.String() + other.ID.Reveal()[28:])
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), forged); err != nil {
		t.Errorf("with a wrong secret: %v", err)
	}
	b.get(s.ID) // it takes the right secret
	for range 2 {
		if err := b.Delete(t.Context(), s.ID); err != nil {
			t.Errorf("got %v", err)
		}
	}
	ended := b.journal.take()
	if len(ended) != 1 || ended[0].Type != session.EventEnded || ended[0].Ref != s.Ref || ended[0].User != "ann" ||
		ended[0].Reason != state.ReasonLogout || ended[0].Age != 3*time.Second || !ended[0].At.Equal(b.clock.Now()) {
		t.Errorf("events %+v", ended)
	}
	b.get(other.ID)
}

func TestRevoke(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	for i, want := range []bool{true, false} {
		did, err := b.Revoke(t.Context(), s.Ref, state.ReasonRevoked, "root")
		if did != want || err != nil {
			t.Errorf("call %d: %v, %v", i, did, err)
		}
	}
	if ended := b.journal.of(session.EventEnded); len(ended) != 1 || ended[0].By != "root" || ended[0].Reason != state.ReasonRevoked {
		t.Errorf("events %+v", ended)
	}
	if _, err := b.Revoke(t.Context(), b.create("ann").Ref, "Not A Reason", "root"); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	baskets, err := session.NewManager(b.store, session.Options{Kind: "basket"})
	if err != nil {
		t.Fatal(err)
	}
	if did, err := baskets.Revoke(t.Context(), b.create("ann").Ref, state.ReasonRevoked, "root"); did || err != nil {
		t.Errorf("a session of another kind: %v, %v", did, err)
	}
}

func TestRacingEndsAreReportedOnce(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann")
	b.journal.take()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				err = b.Delete(t.Context(), s.ID)
			} else {
				_, err = b.Revoke(t.Context(), s.Ref, state.ReasonRevoked, "root")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(b.journal.of(session.EventEnded)); n != 1 {
		t.Errorf("%d endings", n)
	}
}

func TestRevokeUser(t *testing.T) {
	b := newBench(t, session.Policy{MaxPerUser: -1})
	var ann []*session.Session
	for range 600 { // more than two pages
		ann = append(ann, b.create("ann"))
	}
	bob := b.create("bob")
	b.journal.take()
	n, err := b.RevokeUser(t.Context(), "ann", "root", ann[7].Ref, ann[300].Ref)
	if n != 598 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	for _, s := range []*session.Session{bob, ann[7], ann[300]} {
		b.get(s.ID)
	}
	if left := b.count(); left != 3 || len(b.journal.of(session.EventEnded)) != 598 {
		t.Errorf("%d left", left)
	}
	if n, err := b.RevokeUser(t.Context(), "nobody", "root"); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := b.RevokeUser(t.Context(), "", "root"); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("without a name: %v", err)
	}
}

func TestRevokeAll(t *testing.T) {
	b := newBench(t, session.Policy{})
	old := b.create("ann")
	b.clock.Advance(time.Minute)
	at := b.clock.Now()
	young := b.create("")
	if n, err := b.RevokeAll(t.Context(), "root", at); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := b.Get(t.Context(), old.ID); err != session.ErrNotFound {
		t.Errorf("the old one: %v", err)
	}
	b.get(young.ID)
	if n, err := b.RevokeAll(t.Context(), "root", time.Time{}); n != 1 || err != nil || b.count() != 0 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestRevocationOfManyGoesOnAfterAFault(t *testing.T) {
	b := newBench(t, session.Policy{})
	for range 5 {
		b.create("ann")
	}
	b.journal.take()
	b.store.next(fault{}, fault{err: state.ErrUnavailable}, fault{arrives: true, err: state.ErrUnknownOutcome})
	// The first of these faults applies nothing and reports success for nothing ended.
	n, err := b.RevokeUser(t.Context(), "ann", "root")
	if !errors.Is(err, session.ErrUnavailable) || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if left := b.count(); left != 2 || len(b.journal.of(session.EventEnded)) != 3 {
		t.Errorf("%d left", left)
	}
}

func TestEndFindsOutAboutLostAnswers(t *testing.T) {
	for _, c := range []struct {
		faults []fault
		events int
		want   error
	}{
		{[]fault{{arrives: true, err: state.ErrUnknownOutcome}}, 1, nil},
		{[]fault{{err: state.ErrUnknownOutcome}}, 1, nil},
		{[]fault{{err: state.ErrUnknownOutcome}, {arrives: true, err: state.ErrUnknownOutcome}}, 1, nil},
		{slicesOf(8, fault{err: state.ErrUnknownOutcome}), 0, session.ErrUnknownOutcome},
	} {
		b := newBench(t, session.Policy{})
		s := b.create("ann")
		b.journal.take()
		b.store.next(c.faults...)
		if err := b.Delete(t.Context(), s.ID); !errors.Is(err, c.want) {
			t.Errorf("%d faults: %v", len(c.faults), err)
		}
		if n := len(b.journal.of(session.EventEnded)); n != c.events {
			t.Errorf("%d faults: %d events", len(c.faults), n)
		}
	}
}

func slicesOf(n int, f fault) []fault {
	faults := make([]fault, n)
	for i := range faults {
		faults[i] = f
	}
	return faults
}

func TestExplain(t *testing.T) {
	b := newBench(t, session.Policy{})
	s := b.create("ann@example.com")
	live, err := b.Explain(t.Context(), s.Ref)
	if err != nil || live.Live == nil || live.End != nil || !strings.Contains(live.String(), "is created") {
		t.Errorf("got %v, %v", live, err)
	}
	b.clock.Advance(3 * time.Hour)
	expired, err := b.Explain(t.Context(), s.Ref)
	if err != nil || expired.End == nil || expired.End.Reason != state.ReasonIdle {
		t.Errorf("got %v, %v", expired, err)
	}
	revoked := b.create("ann@example.com")
	if _, err := b.Revoke(t.Context(), revoked.Ref, state.ReasonRevoked, "root"); err != nil {
		t.Fatal(err)
	}
	why, err := b.Explain(t.Context(), revoked.Ref)
	if err != nil || why.End == nil {
		t.Fatalf("got %v, %v", why, err)
	}
	want := fmt.Sprintf("%s ended %s by root: revoked", revoked.Ref, b.clock.Now().Format(time.RFC3339))
	if !strings.HasPrefix(why.String(), want) || strings.Contains(why.String(), "ann") {
		t.Errorf("got %q", why)
	}
	never := newBench(t, session.Policy{}).create("").Ref
	if _, err := b.Explain(t.Context(), never); !errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), "never issued") {
		t.Errorf("got %v", err)
	}
	baskets, err := session.NewManager(b.store, session.Options{Kind: "basket"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := baskets.Explain(t.Context(), revoked.Ref); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("the end of another kind: %v", err)
	}
}
