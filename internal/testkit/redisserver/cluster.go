package redisserver

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// A Cluster is a Redis Cluster.
type Cluster struct {
	Masters  []*Server
	Replicas []*Server // Replicas[i] is that of Masters[i], where there are any
}

// StartCluster starts a cluster of so many masters, each with a replica if
// that is asked for, and waits until all nodes agree that all is well.
func StartCluster(t testing.TB, masters int, replicas bool, args ...string) *Cluster {
	t.Helper()
	node := func() *Server {
		s := prepare(t, "redis-server", append([]string{
			"--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--cluster-announce-ip", "127.0.0.1", "--repl-diskless-sync-delay", "0",
		}, args...)...)
		s.Run()
		return s
	}
	c := &Cluster{}
	for range masters {
		c.Masters = append(c.Masters, node())
		if replicas {
			c.Replicas = append(c.Replicas, node())
		}
	}
	for i, s := range c.all() {
		s.answers()
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	const slots = 16384
	for i, s := range c.Masters {
		s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(slots*i/masters), strconv.Itoa(slots*(i+1)/masters-1))
	}
	first := c.Masters[0]
	for _, s := range c.all()[1:] {
		first.Do("CLUSTER", "MEET", "127.0.0.1", s.Port())
	}
	c.settle(masters)
	for i, r := range c.Replicas {
		r.Do("CLUSTER", "REPLICATE", c.Masters[i].Do("CLUSTER", "MYID"))
	}
	for _, r := range c.Replicas {
		r.await("follows its master", func() bool { return r.Info("master_link_status") == "up" })
	}
	c.settle(masters)
	return c
}

func (s *Server) answers() {
	s.t.Helper()
	s.await("answers PING", func() bool {
		reply, err := s.try("PING")
		return err == nil && reply == "PONG"
	})
}

func (c *Cluster) all() []*Server { return append(append([]*Server{}, c.Masters...), c.Replicas...) }

// Addrs are those of the masters.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, s := range c.Masters {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// settle waits until every node knows all others and all slots.
func (c *Cluster) settle(masters int) {
	for _, s := range c.all() {
		s.t.Helper()
		s.await("agrees with its cluster", func() bool {
			info, err := s.try("CLUSTER", "INFO")
			if err != nil {
				return false
			}
			nodes, err := s.try("CLUSTER", "SLOTS")
			if err != nil {
				return false
			}
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(c.all()))) &&
				strings.Contains(info, fmt.Sprintf("cluster_size:%d", masters)) &&
				c.knownReplicas(nodes)
		})
	}
}

// knownReplicas reports whether the answer to CLUSTER SLOTS names all replicas
// that have been made such.
func (c *Cluster) knownReplicas(slots string) bool {
	for _, r := range c.Replicas {
		if role, err := r.try("ROLE"); err == nil && strings.HasPrefix(role, "slave") && !strings.Contains(slots, r.Port()) {
			return false
		}
	}
	return true
}

// MoveSlot moves a slot with its keys from the master that has it to another,
// in steps; between is called when the slot is on the move and some of its
// keys have been moved.
func (c *Cluster) MoveSlot(slot int, from, to *Server, between func()) {
	from.t.Helper()
	n, fromID, toID := strconv.Itoa(slot), from.Do("CLUSTER", "MYID"), to.Do("CLUSTER", "MYID")
	to.Do("CLUSTER", "SETSLOT", n, "IMPORTING", fromID)
	from.Do("CLUSTER", "SETSLOT", n, "MIGRATING", toID)
	move := func(count int) bool {
		keys := from.List("CLUSTER", "GETKEYSINSLOT", n, strconv.Itoa(count))
		for _, key := range keys {
			from.Do("MIGRATE", "127.0.0.1", to.Port(), key, "0", "5000")
		}
		return len(keys) > 0
	}
	move(2)
	between()
	for move(1) {
	}
	for _, s := range append([]*Server{to, from}, c.Masters...) {
		s.Do("CLUSTER", "SETSLOT", n, "NODE", toID)
	}
}

// AwaitPromotion waits until the replica of a master that is gone has taken its
// place, and the others know.
func (c *Cluster) AwaitPromotion(i int) {
	heir := c.Replicas[i]
	heir.t.Helper()
	heir.await("takes the place of its master", func() bool { return heir.Info("role") == "master" })
	for j, s := range c.Masters {
		if j == i {
			continue
		}
		s.await("knows the new master", func() bool {
			info, err := s.try("CLUSTER", "INFO")
			if err != nil || !strings.Contains(info, "cluster_state:ok") {
				return false
			}
			slots, err := s.try("CLUSTER", "SLOTS")
			return err == nil && !strings.Contains(slots, c.Masters[i].Port())
		})
	}
}
