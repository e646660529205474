package nats_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/history"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// Stores that are opened at once make the same mirrors, each on another server.
func TestMirrorsAreOnOtherServers(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3)
	opts := nats.Options{Streams: 4, Level: state.ReplicateLeader}
	stores := make([]*nats.Store, 3)
	var wg sync.WaitGroup
	for i := range stores {
		conn := connect(t, urls(servers))
		wg.Go(func() { stores[i], _ = nats.Open(within(t, patience), conn, opts) })
	}
	wg.Wait()
	for i, s := range stores {
		if s == nil {
			t.Fatalf("store %d cannot be opened", i)
		}
		defer s.Close()
		if g := s.Guarantees(); g.Replication != state.ReplicateLeader || g.Durability == state.Replicated {
			t.Errorf("declares %+v", g)
		}
	}
	onAll(t, stores[0])
	// Nothing else is written: none of them lost what came while it was placed.
	eventually(t, "the mirrors have all", func() error { return mirrored(t, stores[0]) })
	// Who does not ask for a level gets what is there.
	s := open(t, connect(t, urls(servers)), nats.Options{Streams: 4})
	if g := s.Guarantees(); g.Replication != state.ReplicateLeader {
		t.Errorf("opened again: declares %+v", g)
	}
	key := create(t, s, "alice")
	eventually(t, "the mirrors have it", func() error {
		set, err := state.ReplicaSet(within(t, 10*time.Second), s, key)
		if err != nil || len(set) != 3 || !set[0].Leader || !set[1].Connected || set[1].Behind+set[2].Behind != 0 {
			return fmt.Errorf("%+v, %v", set, err)
		}
		return nil
	})
	// The level of a mirror's records is none to whom it is not said.
	none := open(t, connect(t, urls(servers)), nats.Options{Streams: 4, Level: state.ReplicateNone})
	if g := none.Guarantees(); g.Replication != state.ReplicateNone {
		t.Errorf("asked for none: declares %+v", g)
	}
}

// onAll waits until each stream has a leader and two mirrors, on three servers.
func onAll(t *testing.T, s *nats.Store) {
	t.Helper()
	eventually(t, "have copies on all servers", func() error { return everywhere(t, s) })
}

func everywhere(t *testing.T, s *nats.Store) error {
	all, err := s.Members(within(t, 10*time.Second))
	if err != nil {
		return err
	}
	for _, m := range all {
		on := []string{m.Leader}
		for _, f := range m.Members {
			on = append(on, f.Name)
		}
		slices.Sort(on)
		if !slices.Equal(on, []string{"n0", "n1", "n2"}) {
			return fmt.Errorf("%s is on %v", m.Stream, on)
		}
	}
	return nil
}

func TestLeaderNeedsAnotherServer(t *testing.T) {
	t.Parallel()
	conn := connect(t, natsserver.Start(t).URL())
	_, err := nats.Open(within(t, patience), conn, nats.Options{Streams: 1, Level: state.ReplicateLeader})
	if !errors.Is(err, state.ErrInvalid) {
		t.Errorf("a server alone: %v", err)
	}
}

// Nobody waits for a mirror, and it gets later what it missed.
func TestMirrorsFollow(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3)
	opts := nats.Options{Streams: 1, Level: state.ReplicateLeader}
	leader := leaderOf(t, open(t, connect(t, urls(servers)), opts), servers)
	s := open(t, connect(t, leader.URL()), opts)
	eventually(t, "follow at first", func() error { return mirrored(t, s) })
	var stalled []*natsserver.Server
	for _, server := range servers {
		if server != leader {
			server.Suspend()
			stalled = append(stalled, server)
		}
	}
	key := create(t, s, "alice")
	do(t, s, state.UpdateOp{Key: key, Version: 1, Data: data(1)})
	for _, server := range stalled {
		server.Resume()
	}
	eventually(t, "catch up", func() error {
		set, err := s.ReplicaSet(within(t, 10*time.Second), key)
		if err != nil || len(set) != 3 || !set[1].Connected || !set[2].Connected || set[1].Behind+set[2].Behind != 0 {
			return fmt.Errorf("%+v, %v", set, err)
		}
		return nil
	})
}

// The server of the only stream is lost with its disk. All that a mirror has is
// there when that is promoted, an open store goes on, its watchers are told of a
// Gap, and what was not mirrored is lost, which is what this level is.
func TestAMirrorIsPromoted(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3)
	opts := nats.Options{Streams: 1, Level: state.ReplicateLeader}
	leader := leaderOf(t, open(t, connect(t, urls(servers)), opts), servers)
	others := slices.DeleteFunc(slices.Clone(servers), func(s *natsserver.Server) bool { return s == leader })
	patient := opts
	patient.Timeout = patience // however busy the machine is
	s := open(t, connect(t, urls(others)), patient)
	changes, err := s.Watch(t.Context(), state.WatchOptions{Namespace: "test", Beat: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	w := history.StartWitness(s)
	await(t, "acknowledged writes", &w.Done, 300)
	w.Finish()
	eventually(t, "the mirrors have all", func() error { return mirrored(t, s) })
	late := lateWrite(t, s, leader, others)
	leader.Kill()
	leader.Wipe()
	if err := s.Apply(within(t, time.Second), creation(newKey(t, 9), "bob"))[0].Err; !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("a write without its server: %v", err)
	}
	drain(changes)

	conn := connect(t, urls(others))
	dry, err := nats.Promote(within(t, patience), conn, opts, true)
	if err != nil || len(dry) != 1 || !dry[0].Lost || dry[0].Mirror == "" || dry[0].Server == "" || dry[0].Messages == 0 || time.Since(dry[0].Written) > time.Hour {
		t.Fatalf("the plan: %+v, %v", dry, err)
	}
	if _, err := s.Get(within(t, 2*time.Second), late); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("after the plan: %v", err)
	}
	done, err := nats.Promote(within(t, 2*patience), conn, opts, false)
	if err != nil || len(done) != 1 || done[0].Mirror == "" {
		t.Fatalf("the promotion: %+v, %v", done, err)
	}
	eventually(t, "tell a gap", func() error {
		select {
		case c := <-changes:
			if c.Type == state.Gap {
				return nil
			}
			return fmt.Errorf("%v", c.Type)
		default:
			return errors.New("nothing")
		}
	})
	w.Check(t, soon(t, s))
	if r, err := getSoon(t, s, late); err != nil || r.Version != 1 {
		t.Errorf("what was not mirrored: version %d, %v; then this level is more than it says", r.Version, err)
	}
	again := history.StartWitness(s)
	await(t, "writes after the promotion", &again.Done, 100)
	// Nobody takes what is there for lost, and it says so.
	if healthy, err := nats.Promote(within(t, 2*patience), conn, opts, true); err != nil || healthy[0].Lost || len(healthy[0].Silent) != 0 {
		t.Errorf("what is well: %+v, %v", healthy, err)
	}
	leader.Launch() // with an empty disk
	await(t, "writes after the return", &again.Done, again.Done.Load()+100)
	again.Finish()
	again.Check(t, soon(t, s))
	// A store that is opened finds the stream under its new name.
	eventually(t, "make the mirror that is missing", func() error {
		reopened, err := nats.Open(within(t, patience), conn, opts)
		if err != nil {
			return err
		}
		defer reopened.Close()
		again.Check(t, soon(t, reopened))
		return everywhere(t, reopened)
	})
}

// lateWrite has an update acknowledged that no mirror gets: their servers are
// stalled, and forget what was on its way to them. The leader is left stalled.
func lateWrite(t *testing.T, s *nats.Store, leader *natsserver.Server, others []*natsserver.Server) state.Key {
	t.Helper()
	key := create(t, s, "alice")
	eventually(t, "the mirrors have it", func() error { return mirrored(t, s) })
	direct := open(t, connect(t, leader.URL()), nats.Options{Streams: 1, Level: state.ReplicateLeader})
	for _, server := range others {
		server.Suspend()
	}
	do(t, direct, state.UpdateOp{Key: key, Version: 1, Data: data(1)})
	leader.Suspend()
	for _, server := range others {
		server.Kill()
		server.Launch()
	}
	return key
}

// A stream that has taken the place of another counts on from what it has, and may
// be past what was heard when a store looks again.
func TestAnotherStreamInItsPlaceIsAGap(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t)
	conn := connect(t, server.URL())
	s := open(t, conn, nats.Options{Streams: 1})
	for range 3 {
		create(t, s, "alice")
	}
	// So seldom that nothing else tells of it.
	changes, err := s.Watch(t.Context(), state.WatchOptions{Namespace: "test", Beat: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	m := nats.Republished("coatcheck", 0, 2) // a number that was heard of
	m.Header.Set("Nats-Stream", "coatcheck-0-m1")
	if err := conn.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	for timeout := time.After(patience); ; {
		select {
		case c := <-changes:
			if c.Type == state.Gap {
				return
			}
		case <-timeout:
			t.Fatal("no gap")
		}
	}
}

// mirrored returns nil if all mirrors have all.
func mirrored(t *testing.T, s *nats.Store) error {
	all, err := s.Members(within(t, 10*time.Second))
	if err != nil {
		return err
	}
	for _, m := range all {
		for _, f := range m.Members {
			if !f.Current {
				return fmt.Errorf("%+v", all)
			}
		}
	}
	return nil
}

func drain(changes <-chan state.Change) {
	for {
		select {
		case <-changes:
		default:
			return
		}
	}
}

// What is removed is removed from the mirrors, too; but a tombstone not before all
// mirrors have it: a mirror without would have the record instead.
func TestTombstonesStayWhileAMirrorIsAway(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3)
	opts := nats.Options{Streams: 1, Level: state.ReplicateLeader}
	leader := leaderOf(t, open(t, connect(t, urls(servers)), opts), servers)
	var ahead atomic.Int64
	s := open(t, connect(t, leader.URL()), nats.WithClock(opts, func() time.Time {
		return time.Now().Add(time.Duration(ahead.Load()))
	}))
	key := create(t, s, "alice")
	for i := range int64(3) {
		err := s.Append(within(t, patience), key, 0, state.EventAppend{Stream: "a", Index: i, Events: [][]byte{[]byte("event")}})
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the mirrors have it", func() error { return mirrored(t, s) })
	away := servers[0]
	if away == leader {
		away = servers[1]
	}
	away.Suspend()
	do(t, s, revocation(key))
	ahead.Store(int64(state.TombstoneTTL + time.Hour))
	remembered := func() bool {
		t.Helper()
		// The server that is away may have led the others, who elect then.
		eventually(t, "sweep", func() error {
			_, err := s.Sweep(within(t, patience), state.SweepOptions{Namespace: "test"})
			return err
		})
		var gone *state.NotFoundError
		if _, err := getSoon(t, s, key); !errors.As(err, &gone) {
			t.Fatalf("get: %v", err)
		}
		return gone.End != nil
	}
	if !remembered() {
		t.Error("a tombstone was forgotten that a mirror has not")
	}
	away.Resume()
	eventually(t, "forget the tombstone", func() error {
		if remembered() {
			return errors.New("it is remembered")
		}
		return nil
	})
	js, err := jetstream.New(connect(t, leader.URL()))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"coatcheck-0", "coatcheck-0-m1", "coatcheck-0-m2"} {
		eventually(t, "have nothing of it in "+name, func() error {
			stream, err := js.Stream(within(t, 10*time.Second), name)
			if err != nil {
				return err
			}
			info, err := stream.Info(within(t, 10*time.Second), jetstream.WithSubjectFilter("*.*.test.>"))
			if err == nil && len(info.State.Subjects) > 1 { // but the index of the user, for a minute
				err = fmt.Errorf("%v", info.State.Subjects)
			}
			return err
		})
	}
}
