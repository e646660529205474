package e2e

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

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
	store    sharedStore
	balancer *balancer

	mu       sync.Mutex // guards all below
	started  int
	replicas []*server
}

func newFleet(t *testing.T, store sharedStore) *fleet {
	return &fleet{t: t, store: store, balancer: newBalancer(t)}
}

// grow starts so many replicas of a program at once: the first start of a store
// that is made of them wants all.
func (f *fleet) grow(n int, program string) {
	f.t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() { f.launch(program) })
	}
	all.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// launch starts one more replica of a program.
func (f *fleet) launch(program string) {
	f.t.Helper()
	f.mu.Lock()
	n := f.started
	f.started++
	f.mu.Unlock()
	f.run(program, slices.Concat([]string{
		"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--advertise=http://127.0.0.1:0",
		"--heartbeat-timeout=" + f.store.heartbeatTimeout.String(), "--max-sessions-per-user=0", "--log-level=debug",
	}, f.store.flags(n)))
}

// run starts a replica, and has the balancer use it.
func (f *fleet) run(program string, args []string) {
	f.t.Helper()
	s := startProgram(f.t, program, args, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas = append(f.replicas, s)
	f.balancer.add(s)
}

// pick returns the nth replica.
func (f *fleet) pick(n int) *server {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replicas[n%len(f.replicas)]
}

func (f *fleet) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.replicas)
}

// forget drops a replica that ended.
func (f *fleet) forget(s *server) {
	f.balancer.remove(s)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas = slices.DeleteFunc(f.replicas, func(other *server) bool { return other == s })
}

// kill ends a replica as kill -9 does, and starts another for it. The balancer
// finds out by itself.
func (f *fleet) kill(s *server) {
	f.t.Helper()
	s.kill()
	f.follow(s, executable)
	f.forget(s)
}

// follow starts a replica of a program for one that has ended or is about to.
func (f *fleet) follow(s *server, program string) {
	f.t.Helper()
	if f.store.ofReplicas {
		f.run(program, s.args)
		return
	}
	f.launch(program)
}

// suspend stops a replica for a while, as a pause of its machine does.
func (f *fleet) suspend(s *server, d time.Duration) {
	testkit.Suspend(f.t, s.cmd.Process.Pid)
	<-time.After(d)
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		f.t.Errorf("wake a replica: %v", err)
	}
}

// replace does what a rolling update does with each replica: it starts another,
// of a program, and then drains the one; or, where that has a place which it has
// to leave first, it drains it, starts the other and waits until that has all
// that it keeps.
func (f *fleet) replace(s *server, program string) {
	f.t.Helper()
	if !f.store.ofReplicas {
		f.follow(s, program)
		f.drain(s)
		return
	}
	f.drain(s)
	f.follow(s, program)
	eventually(f.t, "the nodes have caught up", f.caughtUp)
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

// caughtUp reports whether doctor lets another node be stopped.
func (f *fleet) caughtUp() bool {
	f.t.Helper()
	nodes := 0
	for _, o := range f.ask("doctor") {
		if o["check"] != "node" {
			continue
		}
		if o["result"] != "ok" {
			return false
		}
		nodes++
	}
	return nodes == f.size()
}

// ask runs a command of operators.
func (f *fleet) ask(command ...string) []map[string]any {
	f.t.Helper()
	where := f.store.flags(0)
	if f.store.ofReplicas {
		where = []string{"--admin=" + f.pick(0).admin}
	}
	return objects(f.t, append(command, where...)...)
}

// owners are the replicas that own sessions, as operators see it.
func (f *fleet) owners() map[string]bool {
	f.t.Helper()
	owners := map[string]bool{}
	for _, s := range f.ask("sessions", "list") {
		if owner, _ := s["owner"].(string); owner != "" {
			owners[owner] = true
		}
	}
	return owners
}

// ownersAreAlive makes sure that what "sessions list" says of owners is so.
func (f *fleet) ownersAreAlive() {
	f.t.Helper()
	n := f.size()
	if owners := f.owners(); len(owners) == 0 || len(owners) > n {
		f.t.Errorf("sessions have %d owners, there are %d replicas", len(owners), n)
	}
}

// examined is what doctor says of the replicas.
func (f *fleet) examined() (details []string) {
	f.t.Helper()
	for _, o := range f.ask("doctor") {
		if o["check"] == "replica" {
			detail, _ := o["detail"].(string)
			details = append(details, detail)
		}
	}
	return details
}

// membersAre makes sure that doctor sees replicas of these versions, and of no
// others.
func (f *fleet) membersAre(versions ...string) {
	f.t.Helper()
	for _, v := range versions {
		eventually(f.t, "a replica of version "+v, func() bool {
			return strings.Contains(strings.Join(f.examined(), "\n"), v)
		})
	}
	for _, m := range f.examined() {
		if !slices.ContainsFunc(versions, func(v string) bool { return strings.Contains(m, v) }) {
			f.t.Errorf("doctor: %s", m)
		}
	}
}
