package e2e

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"time"
)

// heartbeatTimeout is that of the replicas in these tests.
const heartbeatTimeout = 3 * time.Second

// sharedStores start a store that replicas share, and return the flags of the
// nth replica: a store that is made of the replicas themselves wants different
// ones from each.
var sharedStores = map[string]func(t *testing.T) func(n int) []string{
	"redis":    onDatabase("redis"),
	"postgres": onDatabase("postgres"),
	"nats":     onDatabase("nats"),
}

func onDatabase(name string) func(t *testing.T) func(int) []string {
	return func(t *testing.T) func(int) []string {
		db := databases[name](t)
		return func(int) []string { return []string{"--store=" + db.url} }
	}
}

// overSharedStores runs a test with replicas on each store, or on those that
// COATCHECK_TEST_STORE names.
func overSharedStores(t *testing.T, test func(t *testing.T, f *fleet)) {
	only := os.Getenv("COATCHECK_TEST_STORE")
	for _, name := range slices.Sorted(maps.Keys(sharedStores)) {
		if only != "" && only != name {
			continue
		}
		t.Run(name, func(t *testing.T) { test(t, newFleet(t, sharedStores[name](t))) })
	}
}

// fromEnv is a number that whoever runs the test by hand may choose.
func fromEnv(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("%s: write a number above 0", name)
	}
	return n
}

// A fleet is some replicas of "coatcheck serve" on one store, behind a
// balancer.
type fleet struct {
	t        *testing.T
	flags    func(n int) []string
	balancer *balancer
	extra    []string // flags of every replica

	mu       sync.Mutex // guards all below
	started  int
	replicas []*server
}

func newFleet(t *testing.T, flags func(n int) []string, extra ...string) *fleet {
	return &fleet{t: t, flags: flags, balancer: newBalancer(t), extra: extra}
}

// grow starts so many replicas.
func (f *fleet) grow(n int) {
	f.t.Helper()
	for range n {
		f.launch(executable)
	}
}

// launch starts a replica of the program, and has the balancer use it.
func (f *fleet) launch(program string) *server {
	f.t.Helper()
	f.mu.Lock()
	n := f.started
	f.started++
	f.mu.Unlock()
	args := slices.Concat([]string{
		"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--advertise=http://127.0.0.1:0",
		"--heartbeat-timeout=" + heartbeatTimeout.String(), "--max-sessions-per-user=0", "--log-level=debug",
	}, f.flags(n), f.extra)
	s := startProgram(f.t, program, args, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas = append(f.replicas, s)
	f.balancer.add(s)
	return s
}

// pick returns the nth replica.
func (f *fleet) pick(n int) *server {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replicas[n%len(f.replicas)]
}

// forget drops a replica that ended.
func (f *fleet) forget(s *server) {
	f.balancer.remove(s)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas = slices.DeleteFunc(f.replicas, func(other *server) bool { return other == s })
}

// kill ends a replica as kill -9 does, and starts another in its place. The
// balancer finds out by itself.
func (f *fleet) kill(s *server) {
	s.kill()
	f.launch(executable)
	f.forget(s)
}

// suspend stops a replica for a while, as a pause of its machine does.
func (f *fleet) suspend(s *server, d time.Duration) {
	testkit.Suspend(f.t, s.cmd.Process.Pid)
	<-time.After(d)
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		f.t.Errorf("wake a replica: %v", err)
	}
}

// replace starts a replica, and then drains another, as a rolling update does.
func (f *fleet) replace(s *server) {
	f.t.Helper()
	f.launch(executable)
	f.drain(s)
}

// drain ends a replica in order.
func (f *fleet) drain(s *server) {
	f.t.Helper()
	s.terminate()
	if status := s.wait(); status != 0 {
		f.t.Errorf("a drained replica ended with status %d: %s", status, s.out.String())
	}
	f.forget(s)
}
