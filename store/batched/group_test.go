package batched_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
)

// Each test runs in a bubble, where synctest.Wait tells that everybody waits.

// callers starts a call of Apply for each operation, in their order, and
// returns what is to be waited for.
func callers(ctx context.Context, s state.Store, ops ...state.Op) (results []state.Result, wait func()) {
	results = make([]state.Result, len(ops))
	var wg sync.WaitGroup
	for i, op := range ops {
		wg.Go(func() { results[i] = s.Apply(ctx, op)[0] })
		synctest.Wait() // so that they come in order
	}
	return results, wg.Wait
}

func TestLoneCallersGoStraightThrough(t *testing.T) {
	type group struct{ callers, operations int }
	var groups []group
	s := open(t, openMemory(nil), batched.Options{OnGroup: func(c, o int) { groups = append(groups, group{c, o}) }})
	for range 5 {
		do(t, s, creation(newKey(t)))
	}
	if len(groups) != 5 || groups[0] != (group{1, 1}) {
		t.Errorf("five calls one after the other went as %v", groups)
	}
	if st := s.Stats(); st.Groups != 5 || st.Operations != 5 {
		t.Errorf("counted %+v", st)
	}
}

func TestCallersAreGroupedWhileOneIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newGate(openMemory(nil))
		s := open(t, inner, batched.Options{MaxOps: 20, Groups: 1})
		taken := newKey(t)
		do(t, s, creation(taken))
		inner.shut.Store(true)

		var ops []state.Op
		for i := range 32 {
			op := creation(newKey(t))
			if i%8 == 5 {
				op = creation(taken)
			}
			ops = append(ops, op)
		}
		results, wait := callers(t.Context(), s, ops...)
		for _, want := range []int{1, 20, 11} {
			if got := <-inner.entered; len(got) != want {
				t.Errorf("a group of %d operations, want %d", len(got), want)
			}
			inner.let <- nil
		}
		wait()
		for i, r := range results {
			if failed := errors.Is(r.Err, state.ErrExists); failed != (i%8 == 5) {
				t.Errorf("caller %d got error %v", i, r.Err)
			}
			if r.Err == nil && get(t, s, ops[i].Target()).Revision != r.Stamp.Revision {
				t.Errorf("caller %d got the result of another", i)
			}
		}
		inner.shut.Store(false)
	})
}

func TestTwoGroupsAreOnTheirWayAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newGate(openMemory(nil))
		s := open(t, inner, batched.Options{})
		inner.shut.Store(true)
		_, wait := callers(t.Context(), s, creation(newKey(t)), creation(newKey(t)), creation(newKey(t)), creation(newKey(t)))
		if n := len(inner.entered); n != 2 {
			t.Errorf("%d groups are on their way, want 2", n)
		}
		for _, want := range []int{1, 1, 2} { // the last enters when one of the others has returned
			if got := <-inner.entered; len(got) != want {
				t.Errorf("a group of %d operations, want %d", len(got), want)
			}
			inner.let <- nil
			synctest.Wait()
		}
		wait()
		inner.shut.Store(false)
	})
}

func TestARefIsInOneGroupAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newGate(openMemory(nil))
		s := open(t, inner, batched.Options{Groups: 4})
		key := newKey(t)
		inner.shut.Store(true)
		results, wait := callers(t.Context(), s,
			creation(key), creation(newKey(t)), updating(key, 1, "1"), creation(newKey(t)), updating(key, 2, "2"))
		if n := len(inner.entered); n != 2 {
			t.Errorf("%d groups are on their way, want those of the two refs", n)
		}
		inner.shut.Store(false)
		inner.let <- nil
		inner.let <- nil
		wait()
		for i, r := range results {
			if r.Err != nil {
				t.Errorf("operation %d: %v", i, r.Err)
			}
		}
		if v := get(t, s, key).Version; v != 3 {
			t.Errorf("version %d after two updates", v)
		}
	})
}

func TestOrderOnARefIsThatOfTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newGate(openMemory(nil))
		s := open(t, inner, batched.Options{MaxOps: 4})
		key := newKey(t)
		inner.shut.Store(true)
		ops := []state.Op{creation(key)}
		for v := range uint64(10) {
			ops = append(ops, updating(key, v+1, fmt.Sprint(v)))
		}
		results, wait := callers(t.Context(), s, ops...)
		inner.shut.Store(false)
		inner.let <- nil
		wait()
		for i, r := range results {
			if r.Err != nil || r.Stamp.Version != uint64(i+1) {
				t.Errorf("operation %d: version %d, error %v", i, r.Stamp.Version, r.Err)
			}
		}
	})
}

func TestCallerWhoGivesUpInTheQueueWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newGate(openMemory(nil))
		s := open(t, inner, batched.Options{Groups: 1})
		inner.shut.Store(true)
		_, first := callers(t.Context(), s, creation(newKey(t)))
		ctx, cancel := context.WithCancel(t.Context())
		gone, kept := newKey(t), newKey(t)
		results, wait := callers(ctx, s, creation(gone))
		others, waitOthers := callers(t.Context(), s, creation(kept))
		cancel()
		wait()
		if err := results[0].Err; !errors.Is(err, context.Canceled) || errors.Is(err, state.ErrUnknownOutcome) {
			t.Errorf("got error %v, want that of the context alone", err)
		}
		inner.shut.Store(false)
		inner.let <- nil
		first()
		waitOthers()
		if _, err := s.Get(t.Context(), gone); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("what was given up in the queue: get says %v", err)
		}
		if others[0].Err != nil {
			t.Errorf("who came after it got error %v", others[0].Err)
		}
	})
}

func TestCallerWhoGivesUpAfterSendingSpoilsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newGate(openMemory(nil))
		s := open(t, inner, batched.Options{Groups: 1})
		inner.shut.Store(true)
		_, first := callers(t.Context(), s, creation(newKey(t)))
		ctx, cancel := context.WithCancel(t.Context())
		gone, kept := newKey(t), newKey(t)
		results, wait := callers(ctx, s, creation(gone))
		others, waitOthers := callers(t.Context(), s, creation(kept))
		<-inner.entered
		inner.let <- nil
		first()
		<-inner.entered // the group of the two is on its way
		cancel()
		wait()
		if err := results[0].Err; !errors.Is(err, context.Canceled) || !errors.Is(err, state.ErrUnknownOutcome) {
			t.Errorf("got error %v, want an unknown outcome and that of the context", err)
		}
		inner.let <- nil
		waitOthers()
		if others[0].Err != nil {
			t.Errorf("the other in the group got error %v", others[0].Err)
		}
		get(t, s, gone) // the group was sent as a whole
		inner.shut.Store(false)
	})
}

func TestGroupIsGivenUpWhenAllItsCallersAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newGate(openMemory(nil))
		s := open(t, inner, batched.Options{Groups: 1})
		inner.shut.Store(true)
		_, first := callers(t.Context(), s, creation(newKey(t)))
		ctx, cancel := context.WithCancel(t.Context())
		_, wait := callers(ctx, s, creation(newKey(t)), creation(newKey(t)))
		<-inner.entered
		inner.let <- nil
		first()
		<-inner.entered
		cancel()
		wait()
		inner.shut.Store(false)
		do(t, s, creation(newKey(t))) // would wait for ever behind the group
	})
}

func TestCloseStoresWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := openMemory(nil)
		inner := newGate(unclosed{memory})
		s := batched.New(inner, batched.Options{Interval: time.Hour, Groups: 1})
		inner.shut.Store(true)
		keys := []state.Key{newKey(t), newKey(t), newKey(t)}
		results, wait := callers(t.Context(), s, creation(keys[0]), creation(keys[1]), creation(keys[2]))
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		if err := s.Apply(t.Context(), creation(newKey(t)))[0].Err; !errors.Is(err, state.ErrClosed) {
			t.Errorf("Apply while the store is closed: %v", err)
		}
		inner.shut.Store(false)
		inner.let <- nil
		wait()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		for i, key := range keys {
			if results[i].Err != nil {
				t.Errorf("caller %d: %v", i, results[i].Err)
			}
			get(t, memory, key)
		}
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
}

// unclosed is a store that outlives its wrapper.
type unclosed struct{ state.Store }

func (unclosed) Close() error { return nil }

func TestIntervalCollectsUntilItIsOverOrTheGroupIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type group struct {
			at  time.Duration
			ops int
		}
		var groups []group
		start := time.Now()
		s := open(t, openMemory(nil), batched.Options{
			Interval: time.Second, MaxOps: 4,
			OnGroup: func(_, ops int) { groups = append(groups, group{time.Since(start), ops}) },
		})
		apply := func(n int) func() {
			var ops []state.Op
			for range n {
				ops = append(ops, creation(newKey(t)))
			}
			_, wait := callers(t.Context(), s, ops...)
			return wait
		}
		apply(1)() // comes after a pause, and does not wait
		wait := apply(3)
		time.Sleep(time.Second)
		wait()     // at the end of the interval
		apply(4)() // is full at once
		time.Sleep(2 * time.Second)
		apply(1)()
		want := []group{{0, 1}, {time.Second, 3}, {time.Second, 4}, {3 * time.Second, 1}}
		if fmt.Sprint(groups) != fmt.Sprint(want) {
			t.Errorf("groups were sent at %v, want %v", groups, want)
		}
	})
}

func TestStoreWithoutEventsRefusesThem(t *testing.T) {
	s := open(t, newGate(openMemory(nil)), batched.Options{})
	key := newKey(t)
	_, _, err := s.Tail(t.Context(), key, "")
	for _, e := range s.Read(t.Context(), key, "", 0) {
		err = errors.Join(err, e)
	}
	for _, err := range []error{err, s.Append(t.Context(), key, 0), s.Trim(t.Context(), key, state.EventBounds{})} {
		if !errors.Is(err, state.ErrUnsupported) {
			t.Errorf("got %v, want %v", err, state.ErrUnsupported)
		}
	}
}

func TestGroupsShareTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newGate(openMemory(nil))
		s := open(t, inner, batched.Options{})
		inner.shut.Store(true)
		var ops []state.Op
		for range 13 {
			ops = append(ops, creation(newKey(t)))
		}
		_, wait := callers(t.Context(), s, ops...)
		for _, want := range []int{1, 1, 6} { // of the twelve, with one beside it
			if got := <-inner.entered; len(got) != want {
				t.Errorf("a group of %d operations, want %d", len(got), want)
			}
			if want == 1 {
				inner.let <- nil
				synctest.Wait()
			}
		}
		inner.shut.Store(false)
		close(inner.let)
		wait()
	})
}

func TestCallersWhoWereJustAnsweredAreGivenAMoment(t *testing.T) {
	for _, c := range []struct {
		back, want int
		pause      time.Duration
	}{
		{back: 3, want: 3},
		{back: 2, want: 2, pause: time.Millisecond},
	} {
		t.Run(fmt.Sprint(c.back), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := newGate(openMemory(nil))
				s := open(t, inner, batched.Options{Groups: 1})
				inner.shut.Store(true)
				come := func(n int) func() {
					var ops []state.Op
					for range n {
						ops = append(ops, creation(newKey(t)))
					}
					_, wait := callers(t.Context(), s, ops...)
					return wait
				}
				first, others := come(1), come(3)
				<-inner.entered
				inner.let <- nil
				<-inner.entered // the three
				time.Sleep(time.Second)
				inner.let <- nil
				first()
				others()
				last := come(c.back)
				if n := len(inner.entered); c.pause > 0 && n > 0 {
					t.Errorf("%d groups went before the moment was over", n)
				}
				time.Sleep(c.pause)
				synctest.Wait()
				if got := len(<-inner.entered); got != c.want {
					t.Errorf("a group of %d, want %d", got, c.want)
				}
				inner.shut.Store(false)
				inner.let <- nil
				last()
			})
		})
	}
}
