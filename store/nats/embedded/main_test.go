package embedded

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	resolveNodes()
	// The random and concurrent checks of the contract do less: each write goes
	// to the disk.
	if err := flag.Set("test.short", "true"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// A server that is stopped while it asks for what a mirror follows, or takes
	// leave of that, goes on waiting for the answer, half a minute at most.
	const stream = "github.com/nats-io/nats-server/v2/server.(*stream)."
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(stream+"setupMirrorConsumer.func3"), goleak.IgnoreAnyFunction(stream+"tryDeleteSourcingConsumer.func1"))
}

// patience is for machines that are busy. Nothing is measured by it.
const patience = 90 * time.Second

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// trio are the options of three nodes that know one another.
func trio(t *testing.T) []Options {
	t.Helper()
	peers, dir := testkit.Addresses(t, 3), t.TempDir()
	var all []Options
	for i, name := range []string{"a", "b", "c"} {
		all = append(all, Options{Name: name, Listen: peers[i], Peers: peers, Dir: filepath.Join(dir, name)})
	}
	return all
}

// start starts a node, which is closed with the test.
func start(t *testing.T, opts Options) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := Start(ctx, opts)
	if err != nil {
		t.Fatalf("start node %s: %v", opts.Name, err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close node %s: %v", s.Name(), err)
	}
}

// startAll starts nodes at once, as a first start wants.
func startAll(t *testing.T, all []Options) []*Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	servers, errs := make([]*Server, len(all)), make(chan error, len(all))
	for i, opts := range all {
		go func() {
			s, err := Start(ctx, opts)
			servers[i] = s
			errs <- err
		}()
	}
	for range all {
		if err := <-errs; err != nil {
			t.Errorf("start: %v", err)
		}
	}
	for _, s := range servers {
		if s != nil {
			t.Cleanup(func() { stop(t, s) })
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return servers
}
