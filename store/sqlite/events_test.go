package sqlite

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
)

func readAll(t *testing.T, s *Store, key state.Key, stream string, from int64) ([]string, error) {
	t.Helper()
	var all []string
	for e, err := range s.Read(t.Context(), key, stream, from) {
		if err != nil {
			return all, err
		}
		all = append(all, string(e))
	}
	return all, nil
}

func appendEvents(t *testing.T, s *Store, key state.Key, appends ...state.EventAppend) {
	t.Helper()
	if err := s.Append(t.Context(), key, 0, appends...); err != nil {
		t.Fatal(err)
	}
}

func events(stream string, index int64, texts ...string) state.EventAppend {
	a := state.EventAppend{Stream: stream, Index: index}
	for _, text := range texts {
		a.Events = append(a.Events, []byte(text))
	}
	return a
}

func TestEventsAreReadInPages(t *testing.T) {
	s := openTest(t, "", Options{})
	key := create(t, s, "")
	const n = 2*pageEvents + 3
	for i := range int64(n) {
		appendEvents(t, s, key, events("\x00\xff", i, fmt.Sprint(i)))
	}
	got, err := readAll(t, s, key, "\x00\xff", 1)
	if err != nil || len(got) != n-1 || got[0] != "1" || got[n-2] != fmt.Sprint(n-1) {
		t.Errorf("read %d events, %v", len(got), err)
	}
	large := strings.Repeat("x", pageEventBytes)
	appendEvents(t, s, key, events("large", 0, large, "", large))
	if got, err := readAll(t, s, key, "large", 0); err != nil || len(got) != 3 || got[1] != "" || got[2] != large {
		t.Errorf("read %d large events, %v", len(got), err)
	}
}

func TestAppendIsAllOrNothing(t *testing.T) {
	s := openTest(t, "", Options{})
	key := create(t, s, "")
	appendEvents(t, s, key, events("a", 0, "0", "1"), events("b", 0, "0"), events("a", 2, "2"))
	err := s.Append(t.Context(), key, 0, events("a", 3, "3"), events("b", 5, "5"))
	if !errors.Is(err, state.ErrConflict) {
		t.Fatalf("append with a wrong index: %v, want ErrConflict", err)
	}
	if _, next, err := s.Tail(t.Context(), key, "a"); next != 3 || err != nil {
		t.Errorf("next of a is %d (%v), want 3", next, err)
	}
	skip := events("b", 5, "5")
	skip.Skip = true
	appendEvents(t, s, key, skip)
	if _, err := readAll(t, s, key, "b", 0); !errors.Is(err, state.ErrTrimmed) {
		t.Errorf("read of what was skipped: %v, want ErrTrimmed", err)
	}
	if got, err := readAll(t, s, key, "b", 5); err != nil || len(got) != 1 || got[0] != "5" {
		t.Errorf("read %v, %v", got, err)
	}
}

func TestTrimKeepsTheNewestOfAllStreams(t *testing.T) {
	clock := statetest.NewClock()
	s := openTest(t, "", Options{Clock: clock.Now})
	key, other := create(t, s, ""), create(t, s, "")
	appendEvents(t, s, other, events("a", 0, "kept"))
	appendEvents(t, s, key, events("a", 0, "aaaa", "bbbb"))
	clock.Advance(time.Minute)
	appendEvents(t, s, key, events("b", 0, "cccc"))
	clock.Advance(time.Minute)
	appendEvents(t, s, key, events("a", 2, "dddd"))

	if err := s.Trim(t.Context(), key, state.EventBounds{Bytes: 13}); err != nil {
		t.Fatal(err)
	}
	checkTail(t, s, key, "a", 1, 3)
	if err := s.Trim(t.Context(), key, state.EventBounds{Age: 90 * time.Second}); err != nil {
		t.Fatal(err)
	}
	checkTail(t, s, key, "a", 2, 3)
	checkTail(t, s, key, "b", 0, 1)
	if err := s.Trim(t.Context(), key, state.EventBounds{Age: 30 * time.Second}); err != nil {
		t.Fatal(err)
	}
	checkTail(t, s, key, "b", 1, 1)
	if err := s.Trim(t.Context(), key, state.EventBounds{Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	checkTail(t, s, key, "a", 3, 3)
	checkTail(t, s, other, "a", 0, 1)
}

func checkTail(t *testing.T, s *Store, key state.Key, stream string, first, next int64) {
	t.Helper()
	f, n, err := s.Tail(t.Context(), key, stream)
	if err != nil || f != first || n != next {
		t.Errorf("tail of %s is %d, %d (%v), want %d, %d", stream, f, n, err, first, next)
	}
}

func TestEventsEndWithTheirRecord(t *testing.T) {
	clock := statetest.NewClock()
	s := openTest(t, "", Options{Clock: clock.Now})
	evicting := createOp(newKey(t), "")
	evicting.Limit.PerUser = 1
	deleted, evicted := create(t, s, ""), create(t, s, "")
	for _, key := range []state.Key{deleted, evicted} {
		appendEvents(t, s, key, events("", 0, "x"))
	}
	do(t, s, state.DeleteOp{Key: deleted, Reason: state.ReasonLogout})
	do(t, s, evicting)
	swept := evicting.Record.Key()
	appendEvents(t, s, swept, events("", 0, "x"))
	clock.Advance(3 * time.Hour)
	if _, err := readAll(t, s, swept, "", 0); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("read of an expired record's events: %v", err)
	}
	if err := s.Append(t.Context(), swept, 0, events("", 1, "y")); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("append to an expired record: %v", err)
	}
	if _, err := s.Sweep(t.Context(), state.SweepOptions{Namespace: testNamespace}); err != nil {
		t.Fatal(err)
	}
	err := s.readers.read(t.Context(), func(c *conn) error {
		n, err := c.int64("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM streams)")
		if n != 0 {
			t.Errorf("%d events and streams are left", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
