package nats_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// One replica becomes three, with the records that are there.
func TestReplicasAreRaised(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3)
	conn := connect(t, urls(servers))
	s := open(t, conn, nats.Options{Streams: 2, Replicas: 1})
	if g := s.Guarantees(); g.Replication != state.ReplicateNone || g.Durability == state.Replicated {
		t.Errorf("one replica: declares %+v", g)
	}
	key := create(t, s, "alice")
	eventually(t, "raise the replicas", func() error { return s.SetReplicas(within(t, 20*time.Second), 3) })
	eventually(t, "catch up", func() error {
		all, err := s.Members(within(t, 20*time.Second))
		if err != nil {
			return err
		}
		for _, m := range all {
			if m.Replicas != 3 || m.Leader == "" || len(m.Members) != 2 || !m.Members[0].Current || !m.Members[1].Current {
				return errors.New("not yet")
			}
		}
		return nil
	})
	set, err := state.ReplicaSet(within(t, patience), s, key)
	if err != nil || len(set) != 3 || !set[0].Leader || set[1].Leader || !set[2].Connected {
		t.Errorf("the replica set: %+v, %v", set, err)
	}
	again := open(t, conn, nats.Options{Streams: 2})
	if g := again.Guarantees(); g.Replication != state.ReplicateQuorum || g.Durability != state.Replicated {
		t.Errorf("opened again: declares %+v", g)
	}
	// What is acknowledged from now on survives the server that was alone.
	update := state.UpdateOp{Key: key, Version: 1, Data: data(7)}
	if _, err := state.Do(within(t, patience), again, update); err != nil {
		t.Fatal(err)
	}
	leaderOf(t, again, servers).Kill()
	eventually(t, "read without the leader", func() error {
		for _, k := range []state.Key{key} {
			r, err := again.Get(within(t, 10*time.Second), k)
			if errors.Is(err, state.ErrNotFound) {
				t.Fatalf("an outage looks like a record that is not there: %v", err)
			}
			if err != nil {
				return err
			}
			if r.Version != 2 {
				t.Errorf("version %d, want 2", r.Version)
			}
		}
		return nil
	})
}

// Every write keeps the TTL of its message: the deadline and what is left to
// sweeps.
func TestEveryWriteKeepsTheTTL(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t)
	conn := connect(t, server.URL())
	s := open(t, conn, nats.Options{Streams: 1})
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "coatcheck-0")
	if err != nil {
		t.Fatal(err)
	}
	key := create(t, s, "alice")
	last := uint64(0)
	check := func(what string, deadline time.Duration) {
		t.Helper()
		m, err := stream.GetLastMsgForSubject(t.Context(), "coatcheck-0.r.test.*."+key.Ref.String())
		if err != nil {
			t.Fatal(err)
		}
		if m.Sequence <= last {
			t.Errorf("%s: wrote nothing", what)
		}
		last = m.Sequence
		ttl, err := time.ParseDuration(m.Header.Get("Nats-TTL"))
		want := deadline + nats.DefaultUnswept
		if err != nil || ttl > want+time.Second || ttl < want-patience {
			t.Errorf("%s: TTL %q (%v), want %v", what, m.Header.Get("Nats-TTL"), err, want)
		}
	}
	check("create", time.Hour)
	do(t, s, state.TouchOp{Key: key, Idle: 3 * time.Hour})
	check("touch", 3*time.Hour)
	do(t, s, state.UpdateOp{Key: key, Version: 1, Data: data(1)})
	check("update", 3*time.Hour)
	do(t, s, state.SetOwnerOp{Key: key, Owner: "one"})
	check("set owner", 3*time.Hour)
	do(t, s, state.ExtendOp{Key: key, For: 9 * time.Hour, Max: 48 * time.Hour})
	check("extend", 9*time.Hour)
	do(t, s, state.DeleteOp{Key: key, Reason: state.ReasonLogout})
	check("delete", state.TombstoneTTL)
}

// A message that the watch did not hear is a Gap, also if nothing follows.
func TestRestartedServerIsAGapAndTheWatchGoesOn(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t)
	conn := connect(t, server.URL())
	s := open(t, conn, nats.Options{Streams: 1})
	changes, err := s.Watch(t.Context(), state.WatchOptions{Namespace: "test", Beat: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want state.ChangeType) state.Change {
		t.Helper()
		timeout := time.After(patience)
		for {
			select {
			case c := <-changes:
				if c.Type == want {
					return c
				}
			case <-timeout:
				t.Fatalf("no %v within %v", want, patience)
			}
		}
	}
	create(t, s, "alice")
	next(state.Created)
	// What is heard under a number from further on leaves a hole.
	other := connect(t, server.URL())
	m := nats.Republished("coatcheck", 0, 1<<40)
	if err := other.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	next(state.Gap)
	// And now the server knows less than was heard.
	next(state.Gap)
	server.Kill()
	server.Launch()
	var key state.Key
	eventually(t, "write again", func() error {
		key = newKey(t, 7)
		return s.Apply(within(t, 5*time.Second), creation(key, "alice"))[0].Err
	})
	timeout := time.Now().Add(patience)
	for c := next(state.Created); c.Key != key && time.Now().Before(timeout); c = next(state.Created) {
	}
}
