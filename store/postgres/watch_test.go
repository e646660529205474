package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

func watch(t *testing.T, s state.Store, beat time.Duration) <-chan state.Change {
	t.Helper()
	ch, err := s.Watch(t.Context(), state.WatchOptions{Namespace: space, Beat: beat})
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// next returns the next change of one of the types.
func next(t *testing.T, ch <-chan state.Change, types ...state.ChangeType) state.Change {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		select {
		case c, ok := <-ch:
			if !ok {
				t.Fatal("the watch has ended")
			}
			for _, want := range types {
				if c.Type == want {
					return c
				}
			}
		case <-timeout:
			t.Fatalf("no %v for a minute", types)
		}
	}
}

func TestLostConnectionIsAGapAndTheWatchGoesOn(t *testing.T) {
	base := postgresserver.Shared(t).Database(t)
	s := open(t, base+"?application_name=w", postgres.Options{})
	other := open(t, base, postgres.Options{})
	ch := watch(t, s, 200*time.Millisecond)
	next(t, ch, state.Beat)
	for range 3 {
		n := ask[int](t, other, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'w watch' AND datname = current_database()")
		if n != 1 {
			t.Fatalf("there are %d connections that listen, want 1", n)
		}
		next(t, ch, state.Gap)
		next(t, ch, state.Beat) // it is back
		key := create(t, other, "ann")
		if c := next(t, ch, state.Created); c.Key != key {
			t.Errorf("after the connection was lost: told of %v, want %v", c.Key, key)
		}
	}
}

func TestWatchDoesNotBeatWithoutTheServer(t *testing.T) {
	server := postgresserver.Start(t, postgresserver.Options{})
	w := newWire(t, server.Addr())
	s := open(t, strings.Replace(server.Database(t), server.Addr(), w.addr(), 1), postgres.Options{ConnectTimeout: time.Second})
	ch := watch(t, s, 200*time.Millisecond)
	next(t, ch, state.Beat)
	w.stall()
	// Beats that were under way may still come, but then there is none.
	next(t, ch, state.Gap)
	quiet := time.After(time.Second)
	for beats, done := 0, false; !done; {
		select {
		case c := <-ch:
			if c.Type == state.Beat {
				beats++
			}
			if beats > 1 {
				t.Error("the watch beats though the server says nothing")
				done = true
			}
		case <-quiet:
			done = true
		}
	}
	w.cut()
	w.resume()
	next(t, ch, state.Beat)
}

func TestWatchOfAServerThatIsGoneFails(t *testing.T) {
	server := postgresserver.Start(t, postgresserver.Options{})
	s := open(t, server.Database(t), postgres.Options{})
	server.Kill(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := s.Watch(ctx, state.WatchOptions{Namespace: space}); err == nil {
		t.Error("Watch succeeds without a server")
	}
	server.Restart(t)
	watch(t, s, time.Second)
}

// TestManyChangesAtOnceAreTold writes more in one transaction than fits into
// one notification.
func TestManyChangesAtOnceAreTold(t *testing.T) {
	s := fresh(t, postgres.Options{})
	ch := watch(t, s, time.Second)
	missing := map[state.Key]bool{}
	var ops []state.Op
	for range 250 {
		op := creation(t, "ann")
		ops = append(ops, op)
		missing[op.Target()] = true
	}
	for _, r := range s.Apply(t.Context(), ops...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	for len(missing) > 0 {
		c := next(t, ch, state.Created, state.Gap)
		if c.Type == state.Gap {
			t.Fatalf("a gap, though the watcher reads; %d changes are missing", len(missing))
		}
		delete(missing, c.Key)
	}
	var deletes []state.Op
	by := strings.Repeat("\\\n\t x", 40)
	for _, op := range ops {
		deletes = append(deletes, state.DeleteOp{Key: op.Target(), Reason: state.ReasonRevoked, By: by})
	}
	s.Apply(t.Context(), deletes...)
	for range deletes {
		if c := next(t, ch, state.Deleted, state.Gap); c.Type == state.Gap || c.By != by || c.Reason != state.ReasonRevoked || c.Version != 1 {
			t.Fatalf("got %+v", c)
		}
	}
}

func TestNotificationThatCannotBeUnderstoodIsAGap(t *testing.T) {
	s := fresh(t, postgres.Options{})
	ch := watch(t, s, time.Second)
	channel := ask[string](t, s, "SELECT 'coatcheck_' || left(encode(sha256('public'), 'hex'), 16)")
	for _, payload := range []string{"gap\n", "u x", "z a b c d e f g", ""} {
		err := s.WithConn(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "SELECT pg_notify($1, $2)", channel, payload)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if payload != "" { // nothing is missing from an empty one
			next(t, ch, state.Gap)
		}
	}
}
