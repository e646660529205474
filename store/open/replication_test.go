package open_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
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
