package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

// That writers do not deadlock rests on the order in which they lock rows,
// whatever the planner knows of the table.
func TestGroupsOfUpdatesLockRowsInTheOrderOfTheirKeys(t *testing.T) {
	for _, tt := range []struct {
		name   string
		others int
		before string
	}{
		{"NoStatistics", 0, "SELECT"},
		{"SmallTable", 0, "VACUUM ANALYZE sessions"},
		{"LargeTable", 1000, "VACUUM ANALYZE sessions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fresh(t, postgres.Options{})
			var keys []state.Key
			for range 5 {
				keys = append(keys, create(t, s, "ann"))
			}
			slices.SortFunc(keys, func(a, b state.Key) int { return a.Ref.Compare(b.Ref) })
			for range tt.others {
				create(t, s, "bob")
			}
			exec(t, s, tt.before)
			for held := range keys {
				want := len(keys) - 1 - held // those behind it
				if free := freeWhileHeld(t, s, keys, held); free != want {
					t.Errorf("while the lock of row %d of %d is awaited, %d rows are not locked, want %d", held+1, len(keys), free, want)
				}
			}
		})
	}
}

func exec(t *testing.T, s *postgres.Store, sql string) {
	t.Helper()
	err := s.WithConn(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// freeWhileHeld locks one of the records, has all updated, last first, and
// counts those that are not locked while that waits.
func freeWhileHeld(t *testing.T, s *postgres.Store, keys []state.Key, held int) (free int) {
	t.Helper()
	var ops []state.Op
	for i, key := range slices.Backward(keys) {
		r, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, state.UpdateOp{Key: key, Version: r.Version, Data: map[string]json.RawMessage{"i": json.RawMessage(fmt.Sprint(i))}})
	}
	var results []state.Result
	err := s.WithConn(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(ctx)
		if _, err := tx.Exec(ctx, "SELECT FROM sessions WHERE id = $1 FOR UPDATE", keys[held].Ref.String()); err != nil {
			return err
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			results = s.Apply(ctx, ops...)
		}()
		poll(t, "the update to wait", func() bool {
			return ask[int](t, s, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
		})
		free = ask[int](t, s, `WITH f AS (SELECT FROM sessions WHERE user_id = 'ann' FOR UPDATE SKIP LOCKED) SELECT count(*) FROM f`)
		if err := tx.Rollback(ctx); err != nil {
			return err
		}
		select {
		case <-done:
			return nil
		case <-time.After(time.Minute):
			return context.DeadlineExceeded
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return free
}
