package nats_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/history"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// What a level promises is there when all servers are killed at once, and as
// many of three come back without their disks as the level names: one with
// quorum, two with all, the leader of the first stream among them.
func TestAcknowledgedWritesSurviveWhatTheirLevelNames(t *testing.T) {
	t.Parallel()
	for level, lost := range map[state.Replication]int{
		state.ReplicateNone: 0, state.ReplicateLeader: 0, state.ReplicateQuorum: 1, state.ReplicateAll: 2,
	} {
		t.Run(string(level), func(t *testing.T) {
			servers := natsserver.StartCluster(t, 3)
			s := open(t, connect(t, urls(servers)), nats.Options{Level: level})
			if got := s.Guarantees().Replication; got != level {
				t.Fatalf("in force is %q", got)
			}
			first := 0
			if lost > 0 {
				first = slices.Index(servers, leaderOf(t, s, servers))
			}
			w := history.StartWitness(s)
			await(t, "acknowledged writes", &w.Done, 300)
			killAll(servers)
			w.Finish()
			for i := range lost {
				servers[(first+i)%3].Wipe()
			}
			for _, server := range servers {
				server.Launch()
			}
			w.Check(t, soon(t, s))
		})
	}
}

func killAll(servers []*natsserver.Server) {
	var wg sync.WaitGroup
	for _, server := range servers {
		wg.Go(server.Kill)
	}
	wg.Wait()
}

// getSoon reads, again while there is an outage.
func getSoon(t *testing.T, s state.Store, key state.Key) (r state.Record, err error) {
	t.Helper()
	for start := time.Now(); time.Since(start) < patience; {
		r, err = s.Get(within(t, patience), key)
		if !errors.Is(err, state.ErrUnavailable) {
			return r, err
		}
	}
	return r, err
}

// soon returns getSoon of a store.
func soon(t *testing.T, s state.Store) func(state.Key) (state.Record, error) {
	return func(key state.Key) (state.Record, error) { return getSoon(t, s, key) }
}

// A server that is stalled is not waited for beyond the deadline: the majority
// has the write, and the error says so. When the server is back it is there, too.
func TestWriteWithoutOneServerIsBelowTheLevelAll(t *testing.T) {
	t.Parallel()
	servers, s, stalled := startStalled(t, state.ReplicateAll)
	key := create(t, s, "alice")
	stalled.Suspend()
	for _, op := range []state.Op{state.UpdateOp{Key: key, Version: 1, Data: data(7)}, revocation(key), revocation(key)} {
		err := s.Apply(within(t, 2*time.Second), op)[0].Err
		var below *state.BelowLevelError
		if !errors.As(err, &below) || !errors.Is(err, state.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%T: %v", op, err)
		}
		if *below != (state.BelowLevelError{Level: state.ReplicateAll, Have: 1, Need: 2}) {
			t.Errorf("%T: %+v", op, below)
		}
	}
	stalled.Resume()
	eventually(t, "reach the level again", func() error {
		return s.Apply(within(t, 5*time.Second), revocation(key))[0].Err
	})
	leaveOnly(servers, stalled)
	var gone *state.NotFoundError
	if _, err := getSoon(t, s, key); !errors.As(err, &gone) || gone.End == nil {
		t.Errorf("the deletion: %v", err)
	}
}

// Who waits for the same stream at the same time asks together.
func TestWaitersOfAStreamAskTogether(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3)
	conn := connect(t, urls(servers))
	s := open(t, conn, nats.Options{Streams: 1, Level: state.ReplicateAll, Timeout: patience})
	var asked atomic.Int64
	sub, err := conn.Subscribe("$JS.API.STREAM.INFO.coatcheck-0", func(*natsgo.Msg) { asked.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 64, 4
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range each {
				ref, err := state.NewRef(byte(i*4), rand.Reader)
				if err == nil {
					err = s.Apply(t.Context(), creation(state.Key{Namespace: "test", Ref: ref}, "alice"))[0].Err
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(conn.Flush(), sub.Unsubscribe()); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n == 0 || n > writers*each/2 {
		t.Errorf("%d writes of %d at once asked %d times", writers*each, writers, n)
	}
	t.Logf("%d writes, %d questions", writers*each, asked.Load())
}

// That these tests can fail: with quorum a server that was stalled does not have
// what was acknowledged, and when it is the one that is left, that is lost.
func TestQuorumIsLostWithItsMajority(t *testing.T) {
	t.Parallel()
	servers, s, stalled := startStalled(t, state.ReplicateQuorum)
	key := create(t, s, "alice")
	eventually(t, "have all current", func() error {
		all, err := s.Members(within(t, 20*time.Second))
		if err != nil {
			return err
		}
		for _, m := range all[0].Members {
			if !m.Current || m.Lag > 0 {
				return fmt.Errorf("%+v", all[0])
			}
		}
		return nil
	})
	stalled.Suspend()
	do(t, s, revocation(key))
	leaveOnly(servers, stalled)
	if r, err := getSoon(t, s, key); err != nil || r.Version != 1 {
		t.Errorf("the deletion is there: %v; then quorum is more than it says", err)
	}
}

// startStalled starts three servers, and a store of one stream that asks its
// leader. It returns one of the two that follow.
func startStalled(t *testing.T, level state.Replication) ([]*natsserver.Server, *nats.Store, *natsserver.Server) {
	t.Helper()
	servers := natsserver.StartCluster(t, 3)
	opts := nats.Options{Streams: 1, Level: level}
	leader := leaderOf(t, open(t, connect(t, urls(servers)), opts), servers)
	for _, server := range servers {
		if server != leader {
			return servers, open(t, connect(t, leader.URL()), opts), server
		}
	}
	panic("unreachable")
}

// leaveOnly kills all servers at once, and brings them back, but one alone with
// what it had.
func leaveOnly(servers []*natsserver.Server, one *natsserver.Server) {
	killAll(servers)
	for _, server := range servers {
		if server != one {
			server.Wipe()
		}
	}
	for _, server := range servers {
		server.Launch()
	}
}
