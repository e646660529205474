package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestOneOfManyClaimsWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		replicas := []*replica{w.join(), w.join(), w.join()}
		for range 100 {
			key := w.session()
			rec := w.record(key)
			epochs := make([]uint64, len(replicas))
			var all sync.WaitGroup
			for i, r := range replicas {
				all.Go(func() {
					epoch, err := r.Claim(t.Context(), key, rec.Epoch)
					if err != nil && !errors.Is(err, state.ErrFenced) {
						t.Error(err)
					}
					epochs[i] = epoch
				})
			}
			all.Wait()
			now, winners := w.record(key), 0
			for i, epoch := range epochs {
				if epoch != 0 {
					winners++
					if now.Owner != replicas[i].Name() || now.Epoch != epoch || epoch != rec.Epoch+1 {
						t.Errorf("replica %d has epoch %d, the record %d and %s", i, epoch, now.Epoch, now.Owner)
					}
				}
			}
			if winners != 1 {
				t.Errorf("%d won", winners)
			}
		}
	})
}

func TestClaimOfOnesOwnFencesWhatCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.join()
		key := w.session()
		first := a.claim(key)
		if second := a.claim(key); second != first+1 {
			t.Errorf("epoch %d after %d", second, first)
		}
		_, err := state.Do(t.Context(), w.store, state.TouchOp{Key: key, Idle: time.Hour, Epoch: first})
		mustFailWith(t, err, state.ErrFenced)
	})
}

func TestReleasedSessionIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.join(), w.join()
		key := w.session()
		epoch := a.claim(key)
		for range 2 { // it may be repeated
			if err := a.Release(t.Context(), key, epoch); err != nil {
				t.Fatal(err)
			}
			if rec := w.record(key); rec.Owner != "" || b.locate(rec.Owner).Where != Free {
				t.Errorf("owner %q", rec.Owner)
			}
		}
		b.claim(key)
		if err := a.Release(t.Context(), key, epoch); err != nil {
			t.Errorf("after somebody else has claimed it: %v", err)
		}
		if rec := w.record(key); rec.Owner != b.Name() {
			t.Errorf("owner %q", rec.Owner)
		}
		if _, err := state.Do(t.Context(), w.store, state.DeleteOp{Key: key, Reason: state.ReasonLogout}); err != nil {
			t.Fatal(err)
		}
		if err := b.Release(t.Context(), key, epoch); err != nil {
			t.Errorf("after it ended: %v", err)
		}
		_, err := b.Claim(t.Context(), key, epoch)
		mustFailWith(t, err, state.ErrNotFound)
		b.link.setCut(true)
		mustFailWith(t, b.Release(t.Context(), key, epoch), state.ErrUnavailable)
	})
}

// A forgetful store loses the answers to changes of owner, after it has made
// them or before.
type forgetful struct {
	state.Store
	made bool
}

func (s *forgetful) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	if _, ok := ops[0].(state.SetOwnerOp); !ok {
		return s.Store.Apply(ctx, ops...)
	}
	if s.made {
		s.Store.Apply(ctx, ops...)
	}
	return []state.Result{{Err: state.ErrUnknownOutcome}}
}

func TestClaimWhoseAnswerIsLostIsLookedUp(t *testing.T) {
	for _, made := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.join(), w.join()
			key := w.session()
			a.store = &forgetful{Store: a.link, made: made}
			epoch, err := a.Claim(t.Context(), key, 0)
			if made && (err != nil || epoch != 1) || !made && !errors.Is(err, state.ErrUnknownOutcome) {
				t.Errorf("made %v: epoch %d, %v", made, epoch, err)
			}
			b.claim(key)
			_, err = a.Claim(t.Context(), key, epoch)
			mustFailWith(t, err, state.ErrFenced)
		})
	}
}
