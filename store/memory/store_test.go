package memory_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestGetReturnsWhatWasCreatedAndAllocatesOnlyTheCopy(t *testing.T) {
	ctx := context.Background()
	s := open(t, memory.Options{})
	key := create(t, s, "alice")
	r, err := s.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if r.User != "alice" || r.Version != 1 || string(r.Data["cart"]) != `["apple"]` || r.Remaining <= 0 {
		t.Errorf("got %+v", r)
	}
	clone := testing.AllocsPerRun(100, func() { _ = r.Clone() })
	got := testing.AllocsPerRun(100, func() { _, _ = s.Get(ctx, key) })
	if got > clone {
		t.Errorf("Get allocates %v times, a copy of the record %v times", got, clone)
	}
}

func TestTimeStandsStillWhenTheClockStepsBack(t *testing.T) {
	ctx := context.Background()
	clock := newManual()
	s := open(t, memory.Options{Clock: clock.Now})
	key := create(t, s, "alice")
	clock.Advance(2 * time.Hour)
	if _, err := s.Get(ctx, key); !errors.Is(err, state.ErrNotFound) {
		t.Fatalf("after the idle deadline: %v", err)
	}
	clock.Advance(-2 * time.Hour)
	if _, err := s.Get(ctx, key); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("the clock stepped back and the record lives again: %v", err)
	}
}

func TestOverABoundWritesAreFullAndNothingIsLost(t *testing.T) {
	for name, opts := range map[string]memory.Options{
		"records": {MaxRecords: 3},
		"bytes":   {MaxBytes: 4000},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, opts)
			var kept []state.Key
			for range 3 {
				kept = append(kept, create(t, s, "alice"))
			}
			refused := creation(newKey(t, 7), "bob")
			_, err := state.Do(context.Background(), s, refused)
			if !errors.Is(err, state.ErrFull) || !errors.Is(err, state.ErrUnavailable) {
				t.Fatalf("want ErrFull, got %v", err)
			}
			for _, key := range kept {
				if _, err := s.Get(context.Background(), key); err != nil {
					t.Errorf("a record was lost: %v", err)
				}
			}
			do(t, s, state.DeleteOp{Key: kept[0], Reason: state.ReasonLogout, By: "alice"})
		})
	}
}

func TestEvictionMakesTheRoomItNeeds(t *testing.T) {
	clock := newManual()
	s := open(t, memory.Options{MaxRecords: 2, Clock: clock.Now})
	first := create(t, s, "alice")
	clock.Advance(time.Second)
	create(t, s, "alice")
	op := creation(newKey(t, 9), "alice")
	op.Limit.PerUser = 2
	res := do(t, s, op)
	if len(res.Ended) != 1 || res.Ended[0].Key != first {
		t.Errorf("want the oldest evicted, got %v", res.Ended)
	}
}

func TestOperationsGivenByPointerAreRefused(t *testing.T) {
	s := open(t, memory.Options{})
	op := creation(newKey(t, 1), "alice")
	if _, err := state.Do(context.Background(), s, &op); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("want ErrInvalid, got %v", err)
	}
}

func TestClosedStoreAnswersNothing(t *testing.T) {
	ctx := context.Background()
	s := memory.New(memory.Options{})
	key := create(t, s, "alice")
	watch, err := s.Watch(ctx, state.WatchOptions{Namespace: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	_ = s.Close()
	if _, open := <-watch; open {
		t.Error("the watch goes on")
	}
	if _, err := s.Get(ctx, key); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Get: %v", err)
	}
	if _, err := state.Do(ctx, s, creation(newKey(t, 1), "")); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Apply: %v", err)
	}
	for _, err := range s.List(ctx, state.Query{Namespace: "test"}) {
		if !errors.Is(err, state.ErrClosed) {
			t.Errorf("List: %v", err)
		}
	}
	if _, err := s.Sweep(ctx, state.SweepOptions{Namespace: "test"}); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Sweep: %v", err)
	}
	if _, err := s.Watch(ctx, state.WatchOptions{Namespace: "test"}); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Watch: %v", err)
	}
}
