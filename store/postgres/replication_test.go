package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/postgres"
)

func TestReplicationLevelIsCheckedAtTheStart(t *testing.T) {
	alone := postgresserver.Shared(t).Database(t)
	for _, level := range []state.Replication{state.ReplicateQuorum, state.ReplicateAll} {
		_, err := postgres.Open(t.Context(), alone+"?replication="+string(level), postgres.Options{})
		if err == nil || !strings.Contains(err.Error(), "synchronous_standby_names") || !strings.Contains(err.Error(), string(level)) {
			t.Errorf("%s without a synchronous standby: %v", level, err)
		}
	}
	if _, err := postgres.Open(t.Context(), alone+"?replication=most", postgres.Options{}); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("a level that there is not: %v", err)
	}
	if got := open(t, alone, postgres.Options{}).Guarantees().Replication; got != "" {
		t.Errorf("without standbys and unasked the level is %q", got)
	}

	p := newPair(t)
	for asked, commit := range map[state.Replication]string{
		"": "on", state.ReplicateNone: "local", state.ReplicateLeader: "local", state.ReplicateQuorum: "on", state.ReplicateAll: "remote_apply",
	} {
		s := open(t, p.url(""), postgres.Options{Replication: asked})
		want := asked
		if asked == "" {
			want = state.ReplicateQuorum
		}
		if got := s.Guarantees().Replication; got != want {
			t.Errorf("asked for %q, in force is %q", asked, got)
		}
		if got := ask[string](t, s, "SHOW synchronous_commit"); got != commit {
			t.Errorf("%q: synchronous_commit is %s, want %s", asked, got, commit)
		}
	}
	p.require(t, "ANY 1 (two, three)")
	if _, err := postgres.Open(t.Context(), p.url("?replication=all"), postgres.Options{}); err == nil {
		t.Error("all was promised where one of two is enough")
	}
}

// What the primary acknowledged at quorum is there when it is killed and its
// standby takes over. At leader it need not be: see docs/guarantees.md.
func TestQuorumSurvivesTheLossOfThePrimary(t *testing.T) {
	p := newPair(t)
	s := open(t, p.url("?replication=quorum"), postgres.Options{})
	const writers = 8
	var keys [writers]state.Key
	var acked [writers]atomic.Uint64 // versions
	for i := range keys {
		keys[i] = create(t, s, "ann")
		acked[i].Store(1)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var all atomic.Int64
	for i := range keys {
		wg.Go(func() {
			for v := uint64(1); ctx.Err() == nil; v++ {
				data := map[string]json.RawMessage{"v": json.RawMessage(strconv.FormatUint(v+1, 10))}
				if _, err := state.Do(ctx, s, state.UpdateOp{Key: keys[i], Version: v, Data: data}); err != nil {
					return // from here on nothing is acknowledged
				}
				acked[i].Store(v + 1)
				all.Add(1)
			}
		})
	}
	poll(t, "writes", func() bool { return all.Load() > 200 })
	p.failOver(t)
	stop()
	wg.Wait()

	after := open(t, p.standby.URL(p.database), postgres.Options{Replication: state.ReplicateLeader})
	for i, key := range keys {
		r, err := after.Get(t.Context(), key)
		if err != nil || r.Version < acked[i].Load() {
			t.Errorf("version %d was acknowledged at quorum; after the failover there is %d, %v", acked[i].Load(), r.Version, err)
		}
	}

	// The promoted server has no standby, and the store was told not to write
	// without one.
	var err error
	poll(t, "the other server to be asked", func() bool {
		_, err = state.Do(t.Context(), s, state.TouchOp{Key: keys[0], Idle: time.Hour})
		return err != nil && strings.Contains(err.Error(), "synchronous_standby_names")
	})
	if !errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrUnknownOutcome) {
		t.Errorf("a write where no standby is waited for: %v", err)
	}
	if _, err := s.Get(t.Context(), keys[0]); err != nil {
		t.Errorf("reading needs no standby: %v", err)
	}
}

func TestWriteWithoutItsStandbyIsBelowTheLevel(t *testing.T) {
	p := newPair(t)
	for how, disturb := range map[string][2]func(){
		"stopped": {func() { p.standby.Stop(t) }, func() { p.standby.Restart(t) }},
		"paused":  {func() { p.standby.Pause(t) }, func() { p.standby.Resume(t) }},
	} {
		t.Run(how, func(t *testing.T) {
			s := open(t, p.url("?replication=quorum"), postgres.Options{})
			key := create(t, s, "ann")
			disturb[0]()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			_, err := state.Do(ctx, s, state.SetOwnerOp{Key: key, Owner: "node"})
			if !errors.Is(err, state.ErrBelowLevel) || !errors.Is(err, state.ErrUnknownOutcome) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(start); d > 15*time.Second {
				t.Errorf("a call with a second took %v", d)
			}
			r, err := s.Get(t.Context(), key)
			if err != nil || r.Owner != "node" {
				t.Errorf("the primary has owner %q, %v; it was to have the write", r.Owner, err)
			}
			poll(t, "nobody to be left waiting at the server", func() bool {
				return p.primary.Ask(t, "postgres", "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "0"
			})
			disturb[1]()
			poll(t, "a write at the level", func() bool {
				_, err := state.Do(t.Context(), s, state.TouchOp{Key: key, Idle: time.Hour})
				return err == nil
			})
		})
	}
}

// An operator who ends the wait does not make an acknowledgement of it.
func TestWaitThatAnOperatorEndsIsBelowTheLevel(t *testing.T) {
	p := newPair(t)
	s := open(t, p.url("?replication=quorum"), postgres.Options{})
	key := create(t, s, "ann")
	p.standby.Stop(t)
	done := make(chan error)
	go func() {
		_, err := state.Do(context.Background(), s, state.TouchOp{Key: key, Idle: time.Hour})
		done <- err
	}()
	const waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'coatcheck'"
	poll(t, "the write to wait", func() bool { return p.primary.Ask(t, "postgres", "SELECT count(*)::text "+waiting) != "0" })
	p.primary.Exec(t, "postgres", "SELECT pg_cancel_backend(pid) "+waiting)
	if err := <-done; !errors.Is(err, state.ErrBelowLevel) {
		t.Errorf("got %v", err)
	}
	p.require(t, "") // so that the server's database can be dropped
}
