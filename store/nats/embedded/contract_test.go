package embedded

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/state/statetest"
	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

// A contract opens stores on nodes, each with streams of its own. The nodes sync
// as they do for users, and time is theirs: what takes days is checked of the
// same store in its own package.
type contract struct {
	nodes []*Server

	mu     sync.Mutex // guards all below
	opened map[state.Store]nats.Options
}

func (c *contract) harness() statetest.Harness {
	return statetest.Harness{
		OwnClock: true,
		Open: func(t testing.TB, _ *statetest.Clock) state.Store {
			t.Helper()
			c.mu.Lock()
			n := len(c.opened)
			c.mu.Unlock()
			opts := c.nodes[n%len(c.nodes)].storeOptions()
			opts.Name, opts.Streams, opts.Replicas, opts.Timeout = fmt.Sprintf("test%d", n), 1, len(c.nodes), patience
			return c.open(t, n, opts)
		},
		// Through another node, where there is one.
		Reopen: func(t testing.TB, s state.Store) state.Store {
			t.Helper()
			c.mu.Lock()
			n, opts := len(c.opened), c.opened[s]
			c.mu.Unlock()
			return c.open(t, n, opts)
		},
	}
}

// open opens a store on the nth node, counted round.
func (c *contract) open(t testing.TB, n int, opts nats.Options) state.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := nats.Open(ctx, c.nodes[n%len(c.nodes)].conn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened[s] = opts
	return s
}

func keepsContract(t *testing.T, nodes ...*Server) {
	c := &contract{nodes: nodes, opened: map[state.Store]nats.Options{}}
	statetest.Run(t, c.harness())
	t.Run("Events", func(t *testing.T) { statetest.RunEvents(t, c.harness()) })
}

func TestOneNodeKeepsTheContract(t *testing.T) {
	t.Parallel()
	keepsContract(t, start(t, alone(t)))
}

func TestThreeNodesKeepTheContract(t *testing.T) {
	t.Parallel()
	keepsContract(t, startAll(t, trio(t))...)
}
