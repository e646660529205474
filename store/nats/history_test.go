package nats_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/history"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/natsserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// A server that is killed, and starts again with what it had synced, leaves no
// more of a mark than answers that were lost.
func TestKillsLeaveALinearizableHistory(t *testing.T) {
	t.Parallel()
	server := natsserver.Start(t)
	s := open(t, connect(t, server.URL()), nats.Options{})
	history.Run(t, s, 2, func(reached func(int64)) {
		for n := range int64(2) {
			reached(100 + 100*n)
			server.Kill()
			server.Launch()
		}
	})
}

// Connections end in the middle of answers, answers come late or never: what
// clients see stays right.
func TestCutConnectionsLeaveALinearizableHistory(t *testing.T) {
	t.Parallel()
	for name, servers := range map[string][]*natsserver.Server{
		"OneServer":    {natsserver.Start(t, "-sync=false")},
		"ThreeServers": natsserver.StartCluster(t, 3, "-sync=false"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := testkit.NewProxy(t, servers[0].Addr())
			// Servers tell of one another, and the client is to stay with the proxy.
			conn := connect(t, "nats://"+p.Addr(), natsgo.IgnoreDiscoveredServers())
			s := open(t, conn, nats.Options{Streams: 2, Timeout: time.Second})
			unknown := history.Run(t, s, 4, func(reached func(int64)) {
				p.CutReplies(20)
				eventually(t, "be cut", func() error {
					if n := p.Cuts(); n < 5 {
						return fmt.Errorf("%d answers", n)
					}
					return nil
				})
				p.Calm()
				reached(150)
				p.DelayReplies(5 * time.Millisecond)
				reached(250)
				p.Calm()
				for i := range int64(3) { // until the client gives the connection up
					p.DropReplies()
					eventually(t, "be dropped", func() error { return dropped(t, s) })
					p.Calm()
					p.Break()
					reached(300 + 50*i)
				}
			})
			t.Logf("%d answers cut, %d outcomes unknown", p.Cuts(), unknown)
		})
	}
}

// dropped returns nil when a write was sent and has no answer.
func dropped(t *testing.T, s state.Store) error {
	t.Helper()
	err := s.Apply(within(t, 300*time.Millisecond), creation(newKey(t, 7), "alice"))[0].Err
	if errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrUnknownOutcome) {
		return nil
	}
	return fmt.Errorf("a write: %w", err)
}

// The leader of the streams is killed, and comes back.
func TestKillOfALeaderLeavesALinearizableHistory(t *testing.T) {
	t.Parallel()
	servers := natsserver.StartCluster(t, 3)
	s := open(t, connect(t, urls(servers)), nats.Options{Streams: 1, Replicas: 3, Timeout: 20 * time.Second})
	if g := s.Guarantees(); g.Replication != state.ReplicateQuorum || g.Durability != state.Replicated {
		t.Errorf("three replicas: declares %+v", g)
	}
	leader := leaderOf(t, s, servers)
	history.Run(t, s, 2, func(reached func(int64)) {
		reached(100)
		leader.Kill()
		reached(130)
		leader.Launch()
	})
}

func urls(servers []*natsserver.Server) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.URL())
	}
	return strings.Join(all, ",")
}

// leaderOf returns the server that leads the first stream.
func leaderOf(t *testing.T, s *nats.Store, servers []*natsserver.Server) *natsserver.Server {
	t.Helper()
	var leader *natsserver.Server
	eventually(t, "have a leader", func() error {
		members, err := s.Members(within(t, 10*time.Second))
		if err != nil {
			return err
		}
		var i int
		if _, err := fmt.Sscanf(members[0].Leader, "n%d", &i); err != nil || len(members[0].Members) != 2 {
			return fmt.Errorf("members %+v", members[0])
		}
		leader = servers[i]
		return nil
	})
	return leader
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
