package memory_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// Routing bytes are random here, so that the records of one user stand in
// many shards.
func TestLimitsAreExactHoweverManyRace(t *testing.T) {
	ctx := context.Background()
	clock := newManual()
	s := open(t, memory.Options{Clock: clock.Now})
	const perUser, total = 3, 20
	var refused, evicted atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				op := creation(newKey(t, byte(rand.Uint32())), fmt.Sprintf("user%d", (g+i)%9))
				op.Limit = state.Limit{PerUser: perUser, Total: total}
				res := s.Apply(ctx, op)[0]
				switch {
				case res.Err == nil:
					evicted.Add(int64(len(res.Ended)))
				case errors.Is(res.Err, state.ErrLimit):
					refused.Add(1)
				default:
					t.Error(res.Err)
				}
				if i%50 == 0 {
					clock.Advance(10 * time.Minute)
				}
			}
		})
	}
	wg.Wait()
	users := map[string]int{}
	n := 0
	for r, err := range s.List(ctx, state.Query{Namespace: "test"}) {
		if err != nil {
			t.Fatal(err)
		}
		users[r.User]++
		n++
	}
	for user, n := range users {
		if n > perUser {
			t.Errorf("%s has %d records, the limit is %d", user, n, perUser)
		}
	}
	if n > total || refused.Load() == 0 || evicted.Load() == 0 {
		t.Errorf("%d records with a limit of %d; %d refused, %d evicted", n, total, refused.Load(), evicted.Load())
	}
}

func TestEveryExpiredRecordIsSweptOnce(t *testing.T) {
	ctx := context.Background()
	clock := newManual()
	s := open(t, memory.Options{Clock: clock.Now})
	want := map[state.Key]bool{}
	for i := range 3000 {
		op := creation(newKey(t, byte(i)), fmt.Sprintf("user%d", i%11))
		op.Idle = time.Duration(i+1) * time.Second
		if i%3 == 0 {
			op.Record.Kind = "basket"
		}
		do(t, s, op)
		want[op.Target()] = true
	}
	var mu sync.Mutex
	got := map[state.Key]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				clock.Advance(10 * time.Second)
				ends, err := s.Sweep(ctx, state.SweepOptions{Namespace: "test", Max: 17})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, e := range ends {
					got[e.Key]++
				}
				mu.Unlock()
			}
		})
	}
	// Creates with a limit notice expired records on their way.
	wg.Go(func() {
		for i := range 300 {
			op := creation(newKey(t, byte(i)), fmt.Sprintf("user%d", i%11))
			op.Limit.PerUser = 1 << 20
			do(t, s, op)
		}
	})
	wg.Wait()
	clock.Advance(time.Hour)
	for {
		ends, err := s.Sweep(ctx, state.SweepOptions{Namespace: "test"})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ends {
			got[e.Key]++
		}
		if len(ends) == 0 {
			break
		}
	}
	for key := range want {
		if got[key] != 1 {
			t.Fatalf("%v was swept %d times", key, got[key])
		}
	}
}

func TestTouchedRecordsOutliveTheirFirstDeadline(t *testing.T) {
	ctx := context.Background()
	clock := newManual()
	s := open(t, memory.Options{Clock: clock.Now})
	var keys []state.Key
	for range 500 {
		keys = append(keys, create(t, s, "alice"))
	}
	clock.Advance(30 * time.Minute)
	for _, key := range keys[:400] {
		do(t, s, state.TouchOp{Key: key, Idle: time.Hour})
	}
	clock.Advance(45 * time.Minute)
	ends, err := s.Sweep(ctx, state.SweepOptions{Namespace: "test"})
	if err != nil || len(ends) != 100 {
		t.Fatalf("swept %d of 100: %v", len(ends), err)
	}
	do(t, s, state.ExtendOp{Key: keys[0], For: time.Minute, Max: 24 * time.Hour})
	clock.Advance(time.Minute)
	ends, err = s.Sweep(ctx, state.SweepOptions{Namespace: "test"})
	if err != nil || len(ends) != 1 || ends[0].Key != keys[0] {
		t.Errorf("swept %v, %v, want the one that was shortened", ends, err)
	}
}

func TestListYieldsWhatIsThereThroughoutOnceWhileOthersComeAndGo(t *testing.T) {
	ctx := context.Background()
	s := open(t, memory.Options{})
	stay := map[state.Ref]bool{}
	for i := range 2000 {
		key := newKey(t, byte(i))
		do(t, s, creation(key, "alice"))
		stay[key.Ref] = true
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := newKey(t, byte(i))
				do(t, s, creation(key, "bob"))
				do(t, s, state.DeleteOp{Key: key, Reason: state.ReasonLogout})
			}
		})
	}
	for range 5 {
		seen := map[state.Ref]bool{}
		var last state.Ref
		for r, err := range s.List(ctx, state.Query{Namespace: "test"}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Ref.Compare(last) <= 0 {
				t.Fatalf("%v after %v", r.Ref, last)
			}
			last = r.Ref
			if stay[r.Ref] {
				seen[r.Ref] = true
			}
		}
		if len(seen) != len(stay) {
			t.Fatalf("saw %d of %d", len(seen), len(stay))
		}
	}
	close(stop)
	wg.Wait()
}

// A user's records are found through the index, and in the same order as by
// looking at all of them.
func TestListOfAUserIsThatOfAllFiltered(t *testing.T) {
	ctx := context.Background()
	clock := newManual()
	s := open(t, memory.Options{Clock: clock.Now})
	for i := range 3000 {
		op := creation(newKey(t, byte(i)), []string{"few", "many", "many", "many", ""}[i%5])
		op.Record.Kind = []string{"session", "basket", "_node"}[i%3]
		if i%4 == 0 {
			op.Idle = time.Minute
		}
		do(t, s, op)
	}
	clock.Advance(time.Minute)
	for _, user := range []string{"few", "many", "", "nobody"} {
		for _, kind := range []string{"", "session", "_node"} {
			var want, got []state.Ref
			for r, err := range s.List(ctx, state.Query{Namespace: "test", Kind: kind}) {
				if err != nil {
					t.Fatal(err)
				}
				if r.User == user {
					want = append(want, r.Ref)
				}
			}
			var after state.Ref
			for {
				n := len(got)
				for r, err := range s.List(ctx, state.Query{Namespace: "test", Kind: kind, User: &user, After: after, Max: 100}) {
					if err != nil {
						t.Fatal(err)
					}
					got, after = append(got, r.Ref), r.Ref
				}
				if len(got) == n {
					break
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("user %q, kind %q: got %d records, want %d", user, kind, len(got), len(want))
			}
		}
	}
}
