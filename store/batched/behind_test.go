package batched_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
)

// losses collects what is reported lost.
type losses struct {
	mu   sync.Mutex
	list []batched.Lost
}

func (l *losses) add(lost batched.Lost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, lost)
}

// writeBehind opens a store with write-behind on a gate on a memory store.
func writeBehind(t *testing.T, wb batched.WriteBehind) (*batched.Store, *gate, *losses) {
	var lost losses
	wb.OnLost = lost.add
	inner := newGate(openMemory(nil))
	return open(t, inner, batched.Options{WriteBehind: &wb}), inner, &lost
}

func touching(key state.Key, idle time.Duration) state.TouchOp {
	return state.TouchOp{Key: key, Idle: idle}
}

func TestTouchIsAnsweredBeforeAndStoredWithinTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, _ := writeBehind(t, batched.WriteBehind{})
		key := newKey(t)
		do(t, s, creation(key))
		time.Sleep(10 * time.Minute)
		synctest.Wait() // an interval ends now
		stored := get(t, inner, key)
		stamp := do(t, s, touching(key, time.Hour)).Stamp
		if want := stored.LastAccessed.Add(10 * time.Minute); !stamp.LastAccessed.Equal(want) || !stamp.IdleDeadline.Equal(want.Add(time.Hour)) {
			t.Errorf("the touch was answered with %+v", stamp)
		}
		if r := get(t, s, key); !r.IdleDeadline.Equal(stamp.IdleDeadline) || !r.LastAccessed.Equal(stamp.LastAccessed) || r.Remaining != time.Hour {
			t.Errorf("who touched reads %+v, want what was answered", r.Stamp)
		}
		if r := get(t, inner, key); r.Revision != stored.Revision {
			t.Error("the touch was stored at once")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if r := get(t, inner, key); !r.IdleDeadline.Equal(stamp.IdleDeadline) || r.Revision <= stored.Revision {
			t.Errorf("after the interval there is stored %+v, want the idle deadline that was answered", r.Stamp)
		}
		if st := s.Stats(); st.Deferred != 1 || st.Pending != 0 || st.Lost != 0 {
			t.Errorf("counted %+v", st)
		}
	})
}

func TestTouchesOfOneRecordAreStoredAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, _ := writeBehind(t, batched.WriteBehind{})
		keys := []state.Key{newKey(t), newKey(t), newKey(t)}
		for _, key := range keys {
			do(t, s, creation(key))
		}
		before := s.Stats()
		for range 10 {
			time.Sleep(10 * time.Millisecond)
			for _, key := range keys {
				do(t, s, touching(key, 2*time.Hour))
				do(t, s, touching(key, time.Hour)) // moves nothing back
			}
		}
		want := get(t, s, keys[0])
		time.Sleep(2 * time.Second)
		synctest.Wait()
		after := s.Stats()
		if groups, ops := after.Groups-before.Groups, after.Operations-before.Operations; groups != 1 || ops != 3 {
			t.Errorf("sixty touches of three records went as %d operations in %d groups, want 3 in 1", ops, groups)
		}
		if r := get(t, inner, keys[0]); !r.IdleDeadline.Equal(want.IdleDeadline) {
			t.Errorf("stored was the idle deadline %v, want the latest that was answered, %v", r.IdleDeadline, want.IdleDeadline)
		}
	})
}

func TestTouchIsRefusedAsTheStoreWould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, lost := writeBehind(t, batched.WriteBehind{})
		ended, owned := newKey(t), newKey(t)
		do(t, s, creation(ended))
		do(t, s, creation(owned))
		do(t, s, state.DeleteOp{Key: ended, Reason: state.ReasonLogout})
		do(t, s, state.SetOwnerOp{Key: owned, Owner: "one"})
		fenced := touching(owned, time.Hour)
		fenced.Epoch = 7
		for _, op := range []state.Op{touching(ended, time.Hour), touching(newKey(t), time.Hour), fenced, touching(owned, 0)} {
			got, want := s.Apply(t.Context(), op)[0].Err, inner.Apply(t.Context(), op)[0].Err
			if got == nil || want == nil || got.Error() != want.Error() {
				t.Errorf("got error %v, want %v", got, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Apply(ctx, touching(owned, time.Hour))[0].Err; !errors.Is(err, context.Canceled) {
			t.Errorf("with a cancelled context: %v", err)
		}
		if st := s.Stats(); st.Deferred != 0 || len(lost.list) != 0 {
			t.Errorf("counted %+v", st)
		}
	})
}

func TestTouchOfARecordNearItsEndIsWrittenThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, _ := writeBehind(t, batched.WriteBehind{})
		key := newKey(t)
		do(t, s, creation(key))
		time.Sleep(time.Hour - 30*time.Second)
		stamp := do(t, s, touching(key, time.Hour)).Stamp
		if r := get(t, inner, key); r.Revision != stamp.Revision || !r.IdleDeadline.Equal(stamp.IdleDeadline) {
			t.Errorf("stored is %+v, want %+v", r.Stamp, stamp)
		}
	})
}

func TestPendingTouchIsStoredBeforeLaterWritesOfItsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, lost := writeBehind(t, batched.WriteBehind{Interval: time.Hour})
		key := newKey(t)
		do(t, s, state.CreateOp{Record: creation(key).Record, Idle: 5 * time.Hour, Lifetime: 24 * time.Hour})
		time.Sleep(time.Second)
		touched := do(t, s, touching(key, 6*time.Hour)).Stamp
		if stamp := do(t, s, updating(key, 1, `1`)).Stamp; !stamp.IdleDeadline.Equal(touched.IdleDeadline) {
			t.Errorf("the update returned idle deadline %v, want that of the touch before it, %v", stamp.IdleDeadline, touched.IdleDeadline)
		}
		do(t, s, touching(key, 7*time.Hour))
		if r := do(t, s, state.DeleteOp{Key: key, Reason: state.ReasonLogout}); len(r.Ended) != 1 {
			t.Errorf("the delete ended %d records", len(r.Ended))
		}
		if st := s.Stats(); st.Pending != 0 || len(lost.list) != 0 {
			t.Errorf("counted %+v, reported %v", st, lost.list)
		}
		if _, err := inner.Get(t.Context(), key); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("get after the delete: %v", err)
		}
	})
}

func TestSweepSparesWhatWasTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := writeBehind(t, batched.WriteBehind{Interval: time.Hour, MinLife: 3 * time.Hour})
		key := newKey(t)
		do(t, s, state.CreateOp{Record: creation(key).Record, Idle: 4 * time.Hour, Lifetime: 24 * time.Hour})
		do(t, s, touching(key, 8*time.Hour))
		if _, err := s.Sweep(t.Context(), state.SweepOptions{Namespace: "test"}); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); st.Pending != 0 {
			t.Errorf("after a sweep %d touches are pending", st.Pending)
		}
		time.Sleep(5 * time.Hour)
		if ends, err := s.Sweep(t.Context(), state.SweepOptions{Namespace: "test"}); err != nil || len(ends) != 0 {
			t.Errorf("the sweep ended %v, error %v", ends, err)
		}
	})
}

func TestFullBufferWritesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, _ := writeBehind(t, batched.WriteBehind{Interval: time.Hour, MaxPending: 2})
		for i := range 4 {
			key := newKey(t)
			do(t, s, state.CreateOp{Record: creation(key).Record, Idle: 5 * time.Hour, Lifetime: 24 * time.Hour})
			time.Sleep(time.Second)
			stamp := do(t, s, touching(key, 6*time.Hour)).Stamp
			if through := get(t, inner, key).IdleDeadline.Equal(stamp.IdleDeadline); through != (i >= 2) {
				t.Errorf("touch %d with room for two: was it written through? %v", i, through)
			}
		}
	})
}

func TestTouchesOutlastAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, lost := writeBehind(t, batched.WriteBehind{})
		key := newKey(t)
		do(t, s, creation(key))
		time.Sleep(time.Minute)
		synctest.Wait() // an interval ends now
		stamp := do(t, s, touching(key, time.Hour)).Stamp
		inner.shut.Store(true)
		for _, err := range []error{state.ErrUnavailable, state.ErrUnknownOutcome, state.ErrFull} {
			<-inner.entered
			if r := get(t, s, key); !r.IdleDeadline.Equal(stamp.IdleDeadline) {
				t.Error("while it is being stored the touch is not seen")
			}
			inner.let <- err
		}
		inner.shut.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if r := get(t, inner, key); !r.IdleDeadline.Equal(stamp.IdleDeadline) {
			t.Errorf("after the outage the idle deadline is %v, want %v", r.IdleDeadline, stamp.IdleDeadline)
		}
		if st := s.Stats(); st.Pending != 0 || st.Lost != 0 || len(lost.list) != 0 {
			t.Errorf("counted %+v, reported %v", st, lost.list)
		}
	})
}

func TestLostTouchIsCountedAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, lost := writeBehind(t, batched.WriteBehind{})
		key := newKey(t)
		do(t, s, creation(key))
		do(t, s, touching(key, time.Hour))
		do(t, inner, state.DeleteOp{Key: key, Reason: state.ReasonRevoked}) // by another process
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(lost.list) != 1 || lost.list[0].Op.Key != key || !errors.Is(lost.list[0].Err, state.ErrNotFound) {
			t.Errorf("reported lost: %v", lost.list)
		}
		if st := s.Stats(); st.Lost != 1 || st.Pending != 0 {
			t.Errorf("counted %+v", st)
		}
	})
}

func TestCloseStoresTouchesOrReportsThem(t *testing.T) {
	for name, down := range map[string]bool{"Stores": false, "Reports": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := openMemory(nil)
				inner := &outage{Store: unclosed{memory}}
				var lost losses
				s := batched.New(inner, batched.Options{WriteBehind: &batched.WriteBehind{
					Interval: time.Hour, OnLost: lost.add, CloseTimeout: time.Second,
				}})
				keys := []state.Key{newKey(t), newKey(t)}
				for _, key := range keys {
					do(t, s, state.CreateOp{Record: creation(key).Record, Idle: 5 * time.Hour, Lifetime: 24 * time.Hour})
					do(t, s, touching(key, 6*time.Hour))
				}
				inner.down = down
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				want := 0
				if down {
					want = len(keys)
				}
				if len(lost.list) != want || int(s.Stats().Lost) != want || s.Stats().Pending != 0 {
					t.Errorf("reported lost %v, counted %+v; want %d", lost.list, s.Stats(), want)
				}
				for _, l := range lost.list {
					if !errors.Is(l.Err, state.ErrUnavailable) {
						t.Errorf("reported lost for %v", l.Err)
					}
				}
				for _, key := range keys {
					if stored := get(t, memory, key).Remaining > 5*time.Hour; stored == down {
						t.Errorf("was the touch stored? %v", stored)
					}
				}
				if err := s.Apply(t.Context(), touching(keys[0], time.Hour))[0].Err; !errors.Is(err, state.ErrClosed) {
					t.Errorf("a touch after Close: %v", err)
				}
				if err := memory.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// An outage is a store that may be down.
type outage struct {
	state.Store
	down bool
}

func (o *outage) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	if !o.down {
		return o.Store.Apply(ctx, ops...)
	}
	results := make([]state.Result, len(ops))
	for i := range results {
		results[i].Err = state.ErrUnavailable
	}
	return results
}

// Many goroutines touch and update at once, with the race detector.
func TestTouchesRaceWithOtherWrites(t *testing.T) {
	s, inner, lost := writeBehind(t, batched.WriteBehind{Interval: time.Millisecond})
	key := newKey(t)
	do(t, s, creation(key))
	ctx := within(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 200 {
				var err error
				if i%2 == 0 {
					err = s.Apply(ctx, touching(key, time.Hour+time.Duration(n)*time.Second))[0].Err
				} else {
					r, getErr := s.Get(ctx, key)
					err = s.Apply(ctx, updating(key, r.Version, `1`))[0].Err
					if errors.Is(err, state.ErrConflict) {
						err = nil
					}
					err = errors.Join(err, getErr)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if _, err := s.Sweep(ctx, state.SweepOptions{Namespace: "test"}); err != nil {
		t.Fatal(err)
	}
	if r := get(t, inner, key); r.Remaining < time.Hour+190*time.Second {
		t.Errorf("after touches of up to 1h3m19s there is left %v", r.Remaining)
	}
	if len(lost.list) != 0 {
		t.Errorf("reported lost: %v", lost.list)
	}
}

func TestWriteBehindIsDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, _ := writeBehind(t, batched.WriteBehind{Interval: 3 * time.Second})
		want := inner.Guarantees()
		want.Staleness += 6 * time.Second
		want.Durability = state.Volatile
		if got := s.Guarantees(); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		plain := open(t, openMemory(nil), batched.Options{})
		if got, want := plain.Guarantees(), inner.Guarantees(); got != want {
			t.Errorf("without write-behind: got %+v, want %+v", got, want)
		}
	})
}
