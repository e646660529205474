package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func texts(s ...string) (events [][]byte) {
	for _, e := range s {
		events = append(events, []byte(e))
	}
	return events
}

func read(s *memory.Store, key state.Key, stream string, from int64) (got []string, err error) {
	for e, err := range s.Read(context.Background(), key, stream, from) {
		if err != nil {
			return got, err
		}
		got = append(got, string(e))
	}
	return got, nil
}

func TestAppendsOfOneCallAreAllOrNothing(t *testing.T) {
	ctx := context.Background()
	s := open(t, memory.Options{})
	key := create(t, s, "alice")
	err := s.Append(ctx, key, 0,
		state.EventAppend{Stream: "a", Events: texts("0", "1")},
		state.EventAppend{Stream: "a", Index: 2, Events: texts("2")},
		state.EventAppend{Stream: "b", Index: 1, Events: texts("x")},
	)
	var conflict *state.ConflictError
	if !errors.As(err, &conflict) || conflict.Want != 1 || conflict.Have != 0 {
		t.Fatalf("want a conflict of 1 with 0, got %v", err)
	}
	if _, next, _ := s.Tail(ctx, key, "a"); next != 0 {
		t.Errorf("a failed append added %d events", next)
	}
	err = s.Append(ctx, key, 0,
		state.EventAppend{Stream: "a", Events: texts("0", "1")},
		state.EventAppend{Stream: "a", Index: 2, Events: texts("2")},
		state.EventAppend{Stream: "b", Index: 7, Skip: true, Events: texts("x")},
	)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(s, key, "a", 1); err != nil || !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if first, next, err := s.Tail(ctx, key, "b"); first != 7 || next != 8 || err != nil {
		t.Errorf("got %d to %d, %v", first, next, err)
	}
}

func TestEventsDoNotShareMemoryWithCallers(t *testing.T) {
	s := open(t, memory.Options{})
	key := create(t, s, "alice")
	given := texts("event")
	if err := s.Append(context.Background(), key, 0, state.EventAppend{Events: given}); err != nil {
		t.Fatal(err)
	}
	clear(given[0])
	for e := range s.Read(context.Background(), key, "", 0) {
		clear(e)
	}
	if got, err := read(s, key, "", 0); err != nil || got[0] != "event" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestFullEventsAreRefusedAndNothingIsLost(t *testing.T) {
	ctx := context.Background()
	s := open(t, memory.Options{MaxBytes: 3000})
	key := create(t, s, "alice")
	if err := s.Append(ctx, key, 0, state.EventAppend{Events: texts("kept")}); err != nil {
		t.Fatal(err)
	}
	large := state.EventAppend{Index: 5, Skip: true, Events: texts(strings.Repeat("x", 3000))}
	if err := s.Append(ctx, key, 0, large); !errors.Is(err, state.ErrFull) {
		t.Fatalf("want ErrFull, got %v", err)
	}
	if got, err := read(s, key, "", 0); err != nil || !slices.Equal(got, []string{"kept"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTwoWritersCannotBothContinueAStream(t *testing.T) {
	ctx := context.Background()
	s := open(t, memory.Options{})
	key := create(t, s, "alice")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for added := 0; added < 100; {
				_, next, err := s.Tail(ctx, key, "")
				if err != nil {
					t.Error(err)
					return
				}
				err = s.Append(ctx, key, 0, state.EventAppend{Index: next, Events: texts(fmt.Sprintf("%d/%d", g, added))})
				switch {
				case err == nil:
					added++
				case !errors.Is(err, state.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got, err := read(s, key, "", 0)
	slices.Sort(got)
	if err != nil || len(slices.Compact(got)) != 400 {
		t.Errorf("%d events, want 400 different ones: %v", len(got), err)
	}
}

// Events are compared with a list of all of them, in the order in which they
// came.
func TestTrimForgetsTheOldestOfAllStreams(t *testing.T) {
	type event struct {
		stream string
		index  int64
		size   int
		at     time.Time
	}
	ctx := context.Background()
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		clock := newManual()
		s := memory.New(memory.Options{Clock: clock.Now})
		defer s.Close()
		key := newKey(outer, 1)
		op := creation(key, "alice")
		op.Idle, op.Lifetime = 1000*time.Hour, 1000*time.Hour
		do(outer, s, op)

		var model []event
		next := map[string]int64{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			stream := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "stream")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1, 2:
				size := rapid.IntRange(0, 9).Draw(t, "size")
				add := state.EventAppend{Stream: stream, Index: next[stream], Events: [][]byte{make([]byte, size)}}
				if err := s.Append(ctx, key, 0, add); err != nil {
					t.Fatal(err)
				}
				model = append(model, event{stream, next[stream], size, clock.Now()})
				next[stream]++
			case 3:
				next[stream] += rapid.Int64Range(0, 3).Draw(t, "skip")
				if err := s.Append(ctx, key, 0, state.EventAppend{Stream: stream, Index: next[stream], Skip: true}); err != nil {
					t.Fatal(err)
				}
				model = slices.DeleteFunc(model, func(e event) bool { return e.stream == stream })
			case 4:
				clock.Advance(time.Minute)
			default:
				keep := state.EventBounds{
					Bytes: rapid.Int64Range(0, 60).Draw(t, "bytes"),
					Age:   time.Duration(rapid.IntRange(0, 4).Draw(t, "age")) * time.Minute,
				}
				if err := s.Trim(ctx, key, keep); err != nil {
					t.Fatal(err)
				}
				total := 0
				for _, e := range model {
					total += e.size
				}
				for len(model) > 0 {
					old := keep.Age > 0 && clock.Now().Sub(model[0].at) > keep.Age
					if !old && (keep.Bytes == 0 || int64(total) <= keep.Bytes) {
						break
					}
					total -= model[0].size
					model = model[1:]
				}
			}
			for stream, want := range next {
				first := want
				for _, e := range model {
					if e.stream == stream {
						first = min(first, e.index)
					}
				}
				gotFirst, gotNext, err := s.Tail(ctx, key, stream)
				if err != nil || gotFirst != first || gotNext != want {
					t.Fatalf("stream %q: %d to %d, %v; want %d to %d", stream, gotFirst, gotNext, err, first, want)
				}
			}
		}
	})
}

func TestBadAppendsAreRefused(t *testing.T) {
	ctx := context.Background()
	s := open(t, memory.Options{})
	key := create(t, s, "alice")
	for name, c := range map[string]struct {
		a    state.EventAppend
		want error
	}{
		"long stream":    {state.EventAppend{Stream: strings.Repeat("s", state.MaxStreamName+1)}, state.ErrTooLarge},
		"negative index": {state.EventAppend{Index: -1}, state.ErrInvalid},
		"large event":    {state.EventAppend{Events: [][]byte{make([]byte, state.MaxEventBytes+1)}}, state.ErrTooLarge},
	} {
		if err := s.Append(ctx, key, 0, c.a); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if err := s.Trim(ctx, key, state.EventBounds{Bytes: -1}); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("trim to less than nothing: %v", err)
	}
}
