// Package natsserver starts real NATS servers for tests: single ones and
// clusters, with JetStream in a temporary folder that syncs each write. Each is
// a process of its own, listens on a free port of the loopback interface, and is
// ended by its process id when the test is over.
package natsserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// patience is how long a server may take to do what it was told.
const patience = 60 * time.Second

// A Server is one NATS process.
type Server struct {
	*testkit.Process
	t    testing.TB
	name string
	dir  string
	port int
}

// Start starts a server and waits until it listens. Args are further flags of
// the command beside this package.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := prepare(t, build(t), "single", testkit.Port(t), args...)
	s.Launch()
	return s
}

// StartCluster starts servers that know one another.
func StartCluster(t testing.TB, n int, args ...string) []*Server {
	t.Helper()
	bin := build(t)
	servers, routes, ports := make([]*Server, n), make([]string, n), make([]int, n)
	for i := range ports {
		ports[i] = testkit.Port(t)
		routes[i] = fmt.Sprintf("nats://127.0.0.1:%d", ports[i])
	}
	for i := range servers {
		servers[i] = prepare(t, bin, "n"+strconv.Itoa(i), testkit.Port(t),
			append([]string{"-cluster", strconv.Itoa(ports[i]), "-routes", strings.Join(routes, ",")}, args...)...)
		servers[i].Launch()
	}
	return servers
}

func prepare(t testing.TB, bin, name string, port int, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, name: name, dir: t.TempDir(), port: port}
	args = append([]string{"-name", name, "-port", strconv.Itoa(port), "-dir", s.dir}, args...)
	s.Process = testkit.NewProcess(t, "", bin, args...)
	return s
}

// build makes the server. The go command keeps what it made, so this is slow
// only once.
func build(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "natsserver")
	cmd := exec.Command("go", "build", "-o", bin, "./internal/testkit/natsserver/cmd")
	cmd.Dir = testkit.Root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v: %s", err, out)
	}
	return bin
}

// Addr is the host and port of the server.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Name is the server's in its cluster.
func (s *Server) Name() string { return s.name }

// URL is where clients find it.
func (s *Server) URL() string { return "nats://" + s.Addr() }

// Launch starts the process, at first or again, and waits until it listens.
func (s *Server) Launch() {
	s.t.Helper()
	s.Run()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.Addr())
		if err == nil {
			conn.Close()
			return
		}
		if time.Since(start) > patience {
			s.t.Fatalf("the server on %s does not listen\n%s", s.Addr(), s.Output())
		}
	}
}

// Wipe removes all that a server that was killed has stored, as if its disk was
// lost.
func (s *Server) Wipe() {
	s.t.Helper()
	if s.Runs() {
		s.t.Fatalf("server %s runs: kill it before", s.name)
	}
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Dir is the folder in which the server keeps its files.
func (s *Server) Dir() string { return s.dir }
