package session_test

import (
	"errors"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// takeOver makes the session another process's, as that would.
func (b *bench) takeOver(ref state.Ref, epoch uint64, owner string) {
	b.t.Helper()
	op := state.SetOwnerOp{Key: state.Key{Namespace: b.Namespace(), Ref: ref}, Epoch: epoch, Owner: owner}
	if _, err := state.Do(b.t.Context(), b.store.Store, op); err != nil {
		b.t.Error(err)
	}
}

func TestASessionIsCreatedWithItsOwnerInOneRoundTrip(t *testing.T) {
	b := newBench(t, session.Policy{})
	s, err := b.Create(t.Context(), session.CreateRequest{User: "ann", Owner: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.get(s.ID); got.Owner != "one" || got.Epoch != 1 || s.Owner != "one" || s.Epoch != 1 {
		t.Errorf("created with %q at epoch %d, stored %q at %d", s.Owner, s.Epoch, got.Owner, got.Epoch)
	}
	if applies := b.store.applies; applies != 1 {
		t.Errorf("%d round trips", applies)
	}
}

func TestASessionWhoseOwnerCouldNotBeWrittenHasNone(t *testing.T) {
	b := newBench(t, session.Policy{})
	b.store.next(fault{arrives: true}, fault{err: state.ErrUnavailable})
	s, err := b.Create(t.Context(), session.CreateRequest{Owner: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.get(s.ID); got.Owner != "" || s.Owner != "" || s.Epoch != 0 {
		t.Errorf("created with %q at epoch %d, stored %q", s.Owner, s.Epoch, got.Owner)
	}
}

func TestAFormerOwnersWritesAreFenced(t *testing.T) {
	b := newBench(t, session.Policy{})
	s, err := b.Create(t.Context(), session.CreateRequest{Owner: "one"})
	if err != nil {
		t.Fatal(err)
	}
	put := func(snapshot *session.Session) error { return snapshot.Set("k", snapshot.Version) }
	mine := session.AtEpoch(s.Epoch)
	if _, err := b.UpdateRef(t.Context(), s.Ref, put, mine); err != nil {
		t.Errorf("update by the owner: %v", err)
	}
	if err := b.Touch(t.Context(), s.Ref, mine); err != nil {
		t.Errorf("touch by the owner: %v", err)
	}
	b.takeOver(s.Ref, s.Epoch, "two")
	if _, err := b.UpdateRef(t.Context(), s.Ref, put, mine); !errors.Is(err, session.ErrFenced) {
		t.Errorf("update by the former owner: %v", err)
	}
	if err := b.Touch(t.Context(), s.Ref, mine); !errors.Is(err, session.ErrFenced) {
		t.Errorf("touch by the former owner: %v", err)
	}
	if got := b.get(s.ID); got.Version != 2 {
		t.Errorf("version %d: a former owner wrote", got.Version)
	}
	if _, err := b.UpdateRef(t.Context(), s.Ref, put, session.AtEpoch(s.Epoch+1)); err != nil {
		t.Errorf("update by the new owner: %v", err)
	}
}

// The answer to an update was lost, and before it could be asked for somebody
// else took the session over: then it will never be written.
func TestAnUpdateThatATakeoverOvertookIsFenced(t *testing.T) {
	b := newBench(t, session.Policy{})
	s, err := b.Create(t.Context(), session.CreateRequest{Owner: "one"})
	if err != nil {
		t.Fatal(err)
	}
	b.store.next(fault{err: state.ErrUnknownOutcome, then: func() { b.takeOver(s.Ref, s.Epoch, "two") }})
	_, err = b.UpdateRef(t.Context(), s.Ref, func(snapshot *session.Session) error { return snapshot.Set("k", 1) }, session.AtEpoch(s.Epoch))
	if !errors.Is(err, session.ErrFenced) {
		t.Errorf("got %v", err)
	}
}
