package memory_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// More than a Create notices on its way.
const manyExpired = 100

func TestExpiredRecordsCountTowardsNoLimit(t *testing.T) {
	clock := newManual()
	s := open(t, memory.Options{Clock: clock.Now})
	for i := range manyExpired {
		// Others expire first, so that the user's are not the next to be
		// noticed.
		for _, user := range []string{"other", "alice"} {
			op := creation(newKey(t, byte(i)), user)
			op.Idle = time.Minute
			if user == "alice" {
				op.Idle = 2 * time.Minute
			}
			do(t, s, op)
		}
	}
	clock.Advance(2 * time.Minute)
	for _, limit := range []state.Limit{
		{PerUser: 1, Refuse: true},
		{PerUser: 2},
		{Total: 3},
	} {
		op := creation(newKey(t, 1), "alice")
		op.Limit = limit
		if res := do(t, s, op); len(res.Ended) != 0 {
			t.Errorf("limit %+v evicted %v", limit, res.Ended)
		}
	}
	op := creation(newKey(t, 1), "bob")
	op.Limit.Total = 3
	if _, err := state.Do(context.Background(), s, op); !errors.Is(err, state.ErrLimit) {
		t.Errorf("the fourth of three: %v", err)
	}
	ends, err := s.Sweep(context.Background(), state.SweepOptions{Namespace: "test"})
	if err != nil || len(ends) != 2*manyExpired {
		t.Errorf("swept %d of %d: %v", len(ends), 2*manyExpired, err)
	}
}

func TestListDoesNotYieldWhatHasEndedMeanwhile(t *testing.T) {
	s := open(t, memory.Options{})
	alice := "alice"
	for _, q := range []state.Query{{Namespace: "test"}, {Namespace: "test", User: &alice}} {
		var keys []state.Key
		for range 10 {
			keys = append(keys, create(t, s, alice))
		}
		yielded := 0
		for _, err := range s.List(context.Background(), q) {
			if err != nil {
				t.Fatal(err)
			}
			yielded++
			for _, key := range keys {
				do(t, s, state.DeleteOp{Key: key, Reason: state.ReasonLogout})
			}
		}
		if yielded != 1 {
			t.Errorf("%d records came, all had ended after the first", yielded)
		}
	}
}

// Whoever watches may change a record before its Create has returned.
func TestRecordsMayChangeBeforeTheirCreateReturns(t *testing.T) {
	s := open(t, memory.Options{})
	changes := watch(t, s, "test")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for created := 0; created < 500; {
			c := <-changes
			if c.Type != state.Created {
				continue
			}
			created++
			s.Apply(context.Background(), state.UpdateOp{Key: c.Key, Version: c.Version})
		}
	}()
	for range 500 {
		op := creation(newKey(t, 1), "alice")
		if res := do(t, s, op); res.Stamp.Version != 1 || res.Stamp.Revision != 1 {
			t.Errorf("got %+v of a later moment", res.Stamp)
		}
	}
	<-done
}
