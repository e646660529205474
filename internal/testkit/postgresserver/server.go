// Package postgresserver starts real PostgreSQL servers for tests: on a free
// loopback port, in a temporary folder, ended by process id. It uses the
// programs of PostgreSQL 15 or newer that are on the PATH or where Debian puts
// them, never a system service.
package postgresserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// User is the superuser of every server; it needs no password.
const User = "coatcheck"

// Options of a server. The zero value is a server that does not sync, for
// tests in which durability is not the point.
type Options struct {
	Sync     bool              // fsync on
	Settings map[string]string // more settings, as in postgresql.conf
	// Standby makes a hot standby of another server; its name is Name.
	Standby *Server
	Name    string
}

// A Server is a running PostgreSQL. Its methods end the test when they fail.
type Server struct {
	bin  string
	dir  string
	port int
	args []string
	cred *syscall.Credential

	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// patience is how long a server may take to start or to end.
const patience = 60 * time.Second

var (
	sharedMu sync.Mutex
	shared   *Server // guarded by sharedMu
	database atomic.Int64
)

// Shared returns the server that the tests of a binary share. Its TestMain
// calls [StopShared].
func Shared(t testing.TB) *Server {
	t.Helper()
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if shared == nil {
		shared = launch(t, Options{})
	}
	return shared
}

// StopShared ends the shared server, if it was started.
func StopShared() {
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if shared == nil {
		return
	}
	if err := shared.remove(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the shared PostgreSQL:", err)
	}
	shared = nil
}

// Start starts a server that ends with the test.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := launch(t, opts)
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return s
}

// Binary returns the path of a program of PostgreSQL, or ends the test because
// it is missing.
func Binary(t testing.TB, name string) string {
	t.Helper()
	places := []string{name}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	slices.Sort(debian)
	slices.Reverse(debian)
	for _, p := range append(debian, places...) {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	testkit.Missing(t, "the program "+name+" of PostgreSQL (Debian: apt-get install postgresql)")
	return ""
}

func launch(t testing.TB, opts Options) *Server {
	t.Helper()
	s := &Server{bin: filepath.Dir(Binary(t, "initdb"))}
	if os.Geteuid() == 0 {
		s.cred = unprivileged(t)
	}
	dir, err := os.MkdirTemp("", "coatcheck-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	if s.cred != nil {
		if err := os.Chown(dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.create(opts); err != nil {
		_ = os.RemoveAll(dir)
		t.Fatalf("create a PostgreSQL server: %v", err)
	}
	s.port = testkit.Port(t)
	s.configure(opts)
	if err := s.start(); err != nil {
		_ = s.remove()
		t.Fatalf("start PostgreSQL: %v", err)
	}
	return s
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	return cmd
}

func (s *Server) create(opts Options) error {
	cmd := s.command("initdb", "--pgdata="+s.data(), "--username="+User, "--auth=trust", "--encoding=UTF8", "--no-sync")
	if opts.Standby != nil {
		cmd = s.command("pg_basebackup", "--pgdata="+s.data(), "--write-recovery-conf", "--no-sync", "--checkpoint=fast",
			"--dbname="+opts.Standby.URL("postgres")+"?application_name="+opts.Name)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (s *Server) configure(opts Options) {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(s.port),
		"unix_socket_directories": "",
		"max_connections":         "200",
		"shared_buffers":          "64MB",
		"max_wal_size":            "2GB",
		"hot_standby":             "on",
		"fsync":                   "off",
	}
	if opts.Sync {
		settings["fsync"] = "on"
	}
	for k, v := range opts.Settings {
		settings[k] = v
	}
	s.args = []string{"-D", s.data()}
	for k, v := range settings {
		s.args = append(s.args, "-c", k+"="+v)
	}
}

// start starts the server and waits until it answers.
func (s *Server) start() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command("postgres", s.args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func() {
		defer close(s.done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if err = ping(ctx, s.URL("postgres")); err == nil {
			return nil
		}
		select {
		case <-s.done:
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("it ended: %s", text)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ping(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.Ping(ctx)
}

// Addr is where the server listens.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is that of a database.
func (s *Server) URL(database string) string {
	return "postgres://" + User + "@" + s.Addr() + "/" + database
}

// Database creates an empty database that is dropped with the test, and
// returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", database.Add(1))
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	t.Cleanup(func() {
		select {
		case <-s.done:
		default:
			s.Exec(t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
		}
	})
	return s.URL(name)
}

// Exec runs a statement as the superuser.
func (s *Server) Exec(t testing.TB, database, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		t.Fatalf("connect to PostgreSQL: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Ask returns the only value of a query, as text.
func (s *Server) Ask(t testing.TB, database, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		t.Fatalf("connect to PostgreSQL: %v", err)
	}
	defer conn.Close(ctx)
	var text string
	if err := conn.QueryRow(ctx, sql, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// Kill ends the server as a crash does, with SIGKILL to each of its processes.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	children := s.children()
	s.signal(t, syscall.SIGKILL, append([]int{s.cmd.Process.Pid}, children...))
	s.await(t)
	// A new server refuses to start while processes of the old one are left.
	deadline := time.Now().Add(patience)
	for _, pid := range children {
		for syscall.Kill(pid, 0) == nil && !zombie(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d of PostgreSQL outlived SIGKILL", pid)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// Stop ends the server as an operator does.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGINT, []int{s.cmd.Process.Pid})
	s.await(t)
}

// Restart starts it again, on the same port and data.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("start PostgreSQL again: %v", err)
	}
}

// Pause stops every process of the server with SIGSTOP, until Resume.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	testkit.Suspend(t, append([]int{s.cmd.Process.Pid}, s.children()...)...)
}

// Resume lets a paused server go on.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGCONT, append(s.children(), s.cmd.Process.Pid))
}

// Promote makes a primary of a standby.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if out, err := s.command("pg_ctl", "promote", "--wait", "--pgdata="+s.data()).CombinedOutput(); err != nil {
		t.Fatalf("promote the standby: %v: %s", err, out)
	}
}

func (s *Server) signal(t testing.TB, sig syscall.Signal, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatalf("send %v to process %d of PostgreSQL: %v", sig, pid, err)
		}
	}
}

func (s *Server) await(t testing.TB) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatal("PostgreSQL does not end")
	}
}

// children returns the processes that the server has started.
func (s *Server) children() []int {
	parent := strconv.Itoa(s.cmd.Process.Pid)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var pids []int
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && statField(pid, 1) == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ProcessorTime returns what the processes that the server has now have used
// so far.
func (s *Server) ProcessorTime() time.Duration {
	var sum time.Duration
	for _, pid := range append(s.children(), s.cmd.Process.Pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if err != nil {
			continue // it has just ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

func zombie(pid int) bool { return statField(pid, 0) == "Z" }

// statField returns a field of /proc/PID/stat, counted behind the name of the
// program: 0 is the state, 1 the parent.
func statField(pid, n int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if n >= len(fields) {
		return ""
	}
	return fields[n]
}

// remove ends the server and deletes what it wrote.
func (s *Server) remove() error {
	if s.cmd != nil {
		for _, pid := range append(s.children(), s.cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may be paused
		}
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // immediate: nothing is kept
		select {
		case <-s.done:
		case <-time.After(patience):
			return errors.Join(errors.New("it does not end"), s.cmd.Process.Kill())
		}
	}
	return os.RemoveAll(s.dir)
}
