package postgres_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

// The clock of the client is decades behind that of the server, as clocks begin
// in the year 2000 here, and jumps ahead by more than sessions live.
func TestTheClientsClockMayBeWrongAndJump(t *testing.T) {
	url := postgresserver.Shared(t).Database(t)
	outside := time.Now()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, url, postgres.Options{})
		op := creation(t, "ann")
		made := do(t, s, op).Stamp
		if d := made.Created.Sub(outside); d < -time.Second || d > time.Hour {
			t.Fatalf("created at %v, want the server's time, about %v", made.Created, outside)
		}
		brief := creation(t, "ann")
		brief.Idle = time.Millisecond
		do(t, s, brief)
		for _, jump := range []time.Duration{0, time.Hour, 3 * op.Lifetime} {
			time.Sleep(jump) // at once, here
			r, err := s.Get(t.Context(), op.Target())
			if err != nil {
				t.Fatalf("after a jump of %v: %v", jump, err)
			}
			if r.Remaining <= 0 || r.Remaining > op.Idle {
				t.Errorf("after a jump of %v %v remain, want at most %v", jump, r.Remaining, op.Idle)
			}
			touched := do(t, s, state.TouchOp{Key: op.Target(), Idle: op.Idle}).Stamp
			if d := touched.LastAccessed.Sub(made.Created); d < 0 || d > time.Hour {
				t.Errorf("after a jump of %v touched %v after it was created, by the server's time", jump, d)
			}
		}
		exec(t, s, "SELECT pg_sleep(0.01)") // of the server's time
		var gone *state.NotFoundError
		if _, err := s.Get(t.Context(), brief.Target()); !errors.As(err, &gone) || gone.End == nil || gone.End.Reason != state.ReasonIdle {
			t.Errorf("a session that lived for a millisecond of the server: %v", err)
		}
		if ends, err := s.Sweep(t.Context(), state.SweepOptions{Namespace: space}); err != nil || len(ends) != 1 {
			t.Errorf("the sweep ended %d sessions, %v; want the one", len(ends), err)
		}
	})
}
