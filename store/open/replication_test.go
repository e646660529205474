package open_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/batched"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

func TestAStoreThatKeepsNoCopiesRefusesToPromiseAny(t *testing.T) {
	for _, url := range []string{"memory:", "sqlite:" + t.TempDir() + "/x.db"} {
		mustOpen(t, url, open.Options{Replication: state.ReplicateNone})
		for _, level := range []state.Replication{state.ReplicateLeader, state.ReplicateQuorum, state.ReplicateAll} {
			s, err := open.Open(t.Context(), url, open.Options{Replication: level})
			var refused *open.ReplicationError
			if !errors.As(err, &refused) || refused.Asked != level {
				t.Errorf("%s with %s: %v, want a ReplicationError", url, level, err)
			}
			if err == nil {
				s.Close()
			}
		}
	}
}

// What is asked for wins over what the URL says, and is what is in force, or is
// refused.
func TestTheLevelThatIsAskedForIsInForce(t *testing.T) {
	server := redisserver.Start(t)
	for _, level := range []state.Replication{state.ReplicateNone, state.ReplicateLeader, state.ReplicateQuorum, state.ReplicateAll} {
		for _, in := range []string{"", "&replication=none", "&replication=all"} {
			url := fmt.Sprintf("redis://%s?prefix=%s:%s", server.Addr(), level, in)
			s, err := open.Open(t.Context(), url, open.Options{Replication: level})
			if err != nil {
				var refused *open.ReplicationError
				if !errors.As(err, &refused) {
					t.Errorf("%s with %s: %v", in, level, err)
				}
				continue
			}
			if got := s.Guarantees().Replication; got != level && (got != "" || level != state.ReplicateNone) {
				t.Errorf("%s with %s: %s is in force", in, level, got)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestTheReplicaSetIsSeenThroughEveryWrapper(t *testing.T) {
	server := redisserver.Start(t)
	all := open.Options{Ring: newRing(t), Caches: caches(t, "l1=1MiB"), Batch: &batched.Options{}}
	ref, err := state.NewRef(0, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := state.Key{Namespace: "default", Ref: ref}
	set, err := state.ReplicaSet(t.Context(), mustOpen(t, "redis://"+server.Addr(), all), key)
	if err != nil || len(set) != 1 || set[0].Name != server.Addr() || !set[0].Leader {
		t.Errorf("redis: %+v, %v", set, err)
	}
	if set, err := state.ReplicaSet(t.Context(), mustOpen(t, "memory:", all), key); set != nil || err != nil {
		t.Errorf("memory: %+v, %v", set, err)
	}
}
