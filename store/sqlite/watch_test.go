package sqlite

import (
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func watch(t *testing.T, s *Store) <-chan state.Change {
	t.Helper()
	changes, err := s.Watch(t.Context(), state.WatchOptions{Namespace: testNamespace})
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// next returns the next change that is no beat.
func next(t *testing.T, changes <-chan state.Change) state.Change {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case ch, ok := <-changes:
			if !ok {
				t.Fatal("the watch was closed")
			}
			if ch.Type != state.Beat {
				return ch
			}
		case <-deadline:
			t.Fatal("no change was reported")
		}
	}
}

func TestWatchReportsChangesOfOthersInOrder(t *testing.T) {
	a := openTest(t, "", Options{})
	b := openTest(t, a.path, Options{})
	key := create(t, a, "")
	changes := watch(t, a)
	for v := uint64(1); v < 40; v++ {
		s := []*Store{a, b}[v%2]
		do(t, s, state.UpdateOp{Key: key, Version: v, Data: valueData("x")})
	}
	do(t, b, state.DeleteOp{Key: key, Reason: state.ReasonRevoked, By: "operator"})
	for v := uint64(2); v <= 40; v++ {
		if ch := next(t, changes); ch.Type != state.Updated || ch.Key != key || ch.Version != v {
			t.Fatalf("got %+v, want the update to version %d", ch, v)
		}
	}
	if ch := next(t, changes); ch.Type != state.Deleted || ch.Reason != state.ReasonRevoked || ch.By != "operator" {
		t.Fatalf("got %+v, want the deletion", ch)
	}
}

func TestWatchReportsWhatIsDoneByHand(t *testing.T) {
	s := openTest(t, "", Options{})
	key := create(t, s, "")
	changes := watch(t, s)
	byHand(t, s, "UPDATE records SET data = '{}'")
	if ch := next(t, changes); ch.Type != state.Updated || ch.Key != key {
		t.Fatalf("got %+v, want the update", ch)
	}
	if r := get(t, s, key); len(r.Data) != 0 {
		t.Errorf("read %s, want what was written by hand", r.Data)
	}
	byHand(t, s, "DELETE FROM records WHERE user = 'alice'")
	if ch := next(t, changes); ch.Type != state.Deleted || ch.By != "sql" {
		t.Fatalf("got %+v, want the deletion", ch)
	}
	do(t, s, state.DeleteOp{Key: key, Reason: state.ReasonLogout})
	if err := integrity(t.Context(), s); err != nil {
		t.Error(err)
	}
}

func TestWatchThatMissedChangesHasAGap(t *testing.T) {
	a := openTest(t, "", Options{})
	b := openTest(t, a.path, Options{})
	create(t, a, "")
	changes := watch(t, a)
	// While the hub cannot look, others write more than is kept.
	a.hub.mu.Lock()
	for range 3 {
		create(t, b, "")
	}
	byHand(t, b, "DELETE FROM changes WHERE pos < (SELECT max(pos) FROM changes)")
	a.hub.mu.Unlock()
	gap := false
	for range 4 {
		if ch := next(t, changes); ch.Type == state.Gap {
			gap = true
			break
		}
	}
	if !gap {
		t.Error("changes were missed and no gap was reported")
	}
	key := create(t, b, "")
	for next(t, changes).Key != key {
	}
}

func TestChangesAreTrimmed(t *testing.T) {
	s := openTest(t, "", Options{})
	byHand(t, s, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
		INSERT INTO changes SELECT i, 0, '', '', '', 0, 0, '', '' FROM n`)
	for range trimEvery + 1 {
		create(t, s, "")
	}
	var kept int64
	err := s.readers.read(t.Context(), func(c *conn) error {
		var err error
		kept, err = c.int64("SELECT count(*) FROM changes")
		return err
	})
	if err != nil || kept > keepChanges+trimEvery {
		t.Errorf("%d changes are kept (%v), want at most %d", kept, err, keepChanges+trimEvery)
	}
	if err := integrity(t.Context(), s); err != nil {
		t.Error(err)
	}
}
