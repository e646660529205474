package redis_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// until waits for cond.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	eventually(t, what, func() error {
		if !cond() {
			return errors.New("not so")
		}
		return nil
	})
}

func replicaSet(t *testing.T, s *redis.Store, key state.Key) []state.Node {
	t.Helper()
	set, err := state.ReplicaSet(t.Context(), s, key)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestReplicaSetNamesThePrimaryAndItsReplicas(t *testing.T) {
	primary := redisserver.Start(t, quickReplicas...)
	s := open(t, redis.Options{Addresses: []string{primary.Addr()}})
	key := create(t, s, "alice")
	if got, want := replicaSet(t, s, key), []state.Node{{Name: primary.Addr(), Leader: true, Connected: true}}; !slices.Equal(got, want) {
		t.Errorf("alone: %+v", got)
	}
	replica := primary.Replica()
	want := []state.Node{{Name: primary.Addr(), Leader: true, Connected: true}, {Name: replica.Addr(), Connected: true}}
	until(t, "the replica has all", func() bool { return slices.Equal(replicaSet(t, s, key), want) })

	replica.Suspend()
	do(t, s, state.ExtendOp{Key: key, For: time.Hour, Max: 2 * time.Hour})
	until(t, "the replica is known to be behind", func() bool {
		set := replicaSet(t, s, key)
		return len(set) == 2 && set[1].Behind > 0
	})
	replica.Resume()
	replica.Kill()
	until(t, "the replica is gone", func() bool { return len(replicaSet(t, s, key)) == 1 })

	_ = s.Close()
	if _, err := s.ReplicaSet(context.Background(), key); err == nil {
		t.Error("a closed store answers")
	}
}

func TestReplicaSetOfAClusterIsThatOfTheSlot(t *testing.T) {
	c := redisserver.StartCluster(t, 3, true)
	s := open(t, redis.Options{Addresses: c.Addrs()})
	leaders := map[string]bool{}
	for routing := range 256 {
		set := replicaSet(t, s, newKey(t, byte(routing)))
		if len(set) != 2 || !set[0].Leader || set[1].Leader {
			t.Fatalf("%+v", set)
		}
		i := slices.IndexFunc(c.Masters, func(m *redisserver.Server) bool { return m.Addr() == set[0].Name })
		if i < 0 || set[1].Name != c.Replicas[i].Addr() {
			t.Errorf("%s is followed by %s", set[0].Name, set[1].Name)
		}
		leaders[set[0].Name] = true
	}
	if len(leaders) != 3 {
		t.Errorf("%d primaries have records", len(leaders))
	}
}

func TestReplicaSetThroughSentinelFollowsASwitch(t *testing.T) {
	set := redisserver.StartSentinels(t, 1, quickReplicas...)
	s := open(t, redis.Options{Addresses: set.Addrs(), Master: redisserver.MasterSet})
	key := create(t, s, "alice")
	if got := replicaSet(t, s, key); len(got) != 2 || got[0].Name != set.Primary.Addr() || !got[0].Leader {
		t.Errorf("%+v", got)
	}
	set.Primary.Kill()
	set.AwaitSwitch(set.Primary)
	until(t, "the new primary is the leader", func() bool {
		got, err := s.ReplicaSet(t.Context(), key)
		return err == nil && len(got) == 1 && got[0].Leader && !strings.Contains(got[0].Name, set.Primary.Addr())
	})
}
