// Package redisserver starts real Redis servers for tests: single ones with
// replicas, clusters, and sentinels. Each listens on a free port of the
// loopback interface, works in a temporary folder, and is ended by its process
// id when the test is over.
package redisserver

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// patience is how long a server may take to do what it was told.
const patience = 60 * time.Second

// A Server is one Redis process.
type Server struct {
	*testkit.Process
	t    testing.TB
	name string // of the program
	dir  string
	port int
}

// Start starts a server and waits until it answers. Args are further
// directives, each as "--name", "value".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := prepare(t, "redis-server", args...)
	s.Launch()
	return s
}

func prepare(t testing.TB, binary string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, name: binary, dir: t.TempDir(), port: freePort(t)}
	args = append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--enable-debug-command", "yes",
	}, args...)
	s.Process = testkit.NewProcess(t, s.dir, find(t, binary), args...)
	return s
}

// find returns the path of a binary, or ends the test.
func find(t testing.TB, binary string) string {
	t.Helper()
	for _, path := range []string{binary, "/usr/bin/" + binary} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	testkit.Missing(t, binary+" (Debian: apt-get install redis-server redis-sentinel)")
	return ""
}

// freePort returns a port of which the cluster's bus port, 10000 further on, is
// one too.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port+10000 > 65535 {
			continue
		}
		bus, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+10000)))
		if err != nil {
			continue
		}
		bus.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}

// Addr is the host and port of the server.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Port is the port of the server.
func (s *Server) Port() string { return strconv.Itoa(s.port) }

// Dir is the folder in which the server keeps its files.
func (s *Server) Dir() string { return s.dir }

// Launch starts the process, at first or again, and waits until it answers.
func (s *Server) Launch() {
	s.t.Helper()
	s.Run()
	s.t.Log("started", s)
	s.await("answers PING", func() bool {
		reply, err := s.try("PING")
		return err == nil && reply == "PONG"
	})
}

// await ends the test unless cond becomes true in time.
func (s *Server) await(what string, cond func() bool) {
	s.t.Helper()
	for start := time.Now(); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > patience {
			s.t.Fatalf("%s: still waiting until it %s\n%s", s, what, s.Output())
		}
	}
}

// Do sends a command and returns the answer, arrays as one element a line. An
// error ends the test.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	reply, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return reply
}

// List is Do for an answer that is an array of any bytes.
func (s *Server) List(args ...string) []string {
	s.t.Helper()
	parts, err := s.list(args...)
	if err != nil {
		s.t.Fatalf("%s: %v", args[0], err)
	}
	return parts
}

// Info returns a field of the answer to INFO.
func (s *Server) Info(field string) string {
	s.t.Helper()
	for line := range strings.Lines(s.Do("INFO", "everything")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == field {
			return value
		}
	}
	return ""
}

// Replica starts a replica of s and waits until they are in touch.
func (s *Server) Replica(args ...string) *Server {
	s.t.Helper()
	r := Start(s.t, append([]string{"--replicaof", "127.0.0.1 " + s.Port()}, args...)...)
	r.await("follows its primary", func() bool { return r.Info("master_link_status") == "up" })
	return r
}

func (s *Server) String() string { return fmt.Sprintf("%s on %s", s.name, s.Addr()) }

// FreePort returns a port of the loopback interface that nobody uses.
func FreePort(t testing.TB) string { return strconv.Itoa(freePort(t)) }
