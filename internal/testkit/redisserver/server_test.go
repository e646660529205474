package redisserver_test

import (
	"errors"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKilledServerComesBackWithWhatItSynced(t *testing.T) {
	s := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	addr := s.Addr()
	s.Do("SET", "k", "v")
	s.Kill()
	s.Launch()
	if got := s.Do("GET", "k"); got != "v" || s.Addr() != addr {
		t.Errorf("on %s, before on %s, the value is %q", s.Addr(), addr, got)
	}
}

func TestReplicaFollows(t *testing.T) {
	primary := redisserver.Start(t)
	replica := primary.Replica()
	primary.Do("SET", "k", "v")
	testkit.Eventually(t, "follow", func() error {
		if replica.Do("GET", "k") != "v" {
			return errors.New("not yet")
		}
		return nil
	})
	if role := replica.Info("role"); role != "slave" {
		t.Errorf("the replica is a %s", role)
	}
}

func TestClusterServesAllSlots(t *testing.T) {
	c := redisserver.StartCluster(t, 3, false)
	if len(c.Addrs()) != 3 {
		t.Errorf("%d addresses", len(c.Addrs()))
	}
	// Of the specification of Redis Cluster, and by the server's own word.
	for _, tag := range []string{"123456789", "user1000", ""} {
		want := c.Masters[0].Do("CLUSTER", "KEYSLOT", tag)
		if got := strconv.Itoa(redisserver.Slot(tag)); got != want {
			t.Errorf("slot of %q: %s, the server says %s", tag, got, want)
		}
	}
}

func TestSentinelsPromoteAReplica(t *testing.T) {
	set := redisserver.StartSentinels(t, 1)
	set.Primary.Kill()
	if heir := set.AwaitSwitch(set.Primary); heir.Info("role") != "master" {
		t.Errorf("%v is not the primary", heir)
	}
}
