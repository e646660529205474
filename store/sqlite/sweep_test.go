package sqlite

import (
	"fmt"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
)

// Touches leave sweep_at alone; the sweep must still find exactly what has
// expired.
func TestSweepFindsTouchedExtendedAndShortened(t *testing.T) {
	clock := statetest.NewClock()
	s := openTest(t, "", Options{Clock: clock.Now})
	touched, left, shortened := create(t, s, ""), create(t, s, ""), create(t, s, "")
	clock.Advance(time.Hour)
	do(t, s, state.TouchOp{Key: touched, Idle: 2 * time.Hour})
	do(t, s, state.ExtendOp{Key: shortened, For: time.Minute, Max: 24 * time.Hour})

	for _, step := range []struct {
		after time.Duration
		want  state.Key
	}{{time.Minute, shortened}, {time.Hour, left}, {time.Hour, touched}} {
		clock.Advance(step.after)
		ends, err := s.Sweep(t.Context(), state.SweepOptions{Namespace: testNamespace})
		if err != nil || len(ends) != 1 || ends[0].Key != step.want {
			t.Fatalf("sweep returned %v, %v; want only %v", ends, err, step.want)
		}
	}
	if err := integrity(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// More records are due than a batch holds, and none of the first has expired.
func TestSweepLooksBehindThoseItPutsOff(t *testing.T) {
	clock := statetest.NewClock()
	s := openTest(t, "", Options{Clock: clock.Now})
	var ops []state.Op
	var touches []state.Op
	for range sweepBatch + 20 {
		op := createOp(newKey(t), "")
		op.Record.User = ""
		ops = append(ops, op)
		touches = append(touches, state.TouchOp{Key: op.Record.Key(), Idle: 2 * time.Hour})
	}
	for _, r := range s.Apply(t.Context(), ops...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	clock.Advance(time.Second)
	expiring := create(t, s, "")
	clock.Advance(time.Hour)
	for _, r := range s.Apply(t.Context(), touches...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	clock.Advance(time.Hour)
	ends, err := s.Sweep(t.Context(), state.SweepOptions{Namespace: testNamespace, Max: 1})
	if err != nil || len(ends) != 1 || ends[0].Key != expiring {
		t.Fatalf("sweep returned %v, %v; want %v", ends, err, expiring)
	}
}

func TestSweepUsesItsIndexes(t *testing.T) {
	s := openTest(t, "", Options{})
	for _, sql := range []string{
		selectRecord, selectStamp, listAll, listByUser, selectChanges, trimChanges,
		"SELECT id FROM records INDEXED BY records_by_sweep WHERE namespace = ? AND kind = ? AND sweep_at <= ?",
		"DELETE FROM events WHERE stream = ? AND position < ?",
		"SELECT 1 FROM streams WHERE record = ? LIMIT 1",
	} {
		err := s.readers.read(t.Context(), func(c *conn) error {
			return c.query("EXPLAIN QUERY PLAN " + sql).each(func(r row) (bool, error) {
				if plan := r.text(3); len(plan) >= 4 && plan[:4] == "SCAN" {
					return false, fmt.Errorf("%s: %s", sql, plan)
				}
				return true, nil
			})
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestTotalIsExactBesideExpiredAndTouched(t *testing.T) {
	clock := statetest.NewClock()
	s := openTest(t, "", Options{Clock: clock.Now})
	limited := func() state.CreateOp {
		op := createOp(newKey(t), "")
		op.Limit.Total = 2
		return op
	}
	first := limited()
	do(t, s, first)
	do(t, s, limited())
	clock.Advance(time.Hour)
	do(t, s, state.TouchOp{Key: first.Record.Key(), Idle: 2 * time.Hour})
	if _, err := state.Do(t.Context(), s, limited()); err == nil {
		t.Fatal("a third record where two may be")
	}
	clock.Advance(time.Hour) // the second expires, the first does not
	do(t, s, limited())
	if _, err := state.Do(t.Context(), s, limited()); err == nil {
		t.Fatal("a third live record where two may be")
	}
}
