package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should happen at once. It is not
// a measurement: a machine may be busy.
const patience = 60 * time.Second

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if condition() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// log collects the output of a process.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// server is a running "coatcheck serve".
type server struct {
	t      testing.TB
	cmd    *exec.Cmd
	args   []string
	out    log // both outputs
	exited chan struct{}

	url, admin string // where MCP and the admin listener are
}

// serve starts a server on free ports. The store is a file in dir unless the
// flags say another.
func serve(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	args := append([]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=sqlite:" + dir + "/coatcheck.db"}, flags...)
	return start(t, args)
}

func start(t testing.TB, args []string) *server {
	t.Helper()
	return startWith(t, args, nil)
}

// startWith starts a server with variables in its environment.
func startWith(t testing.TB, args, env []string) *server {
	t.Helper()
	return startProgram(t, executable, args, env)
}

// startProgram starts a server of a build of its own.
func startProgram(t testing.TB, program string, args, env []string) *server {
	t.Helper()
	noteAdminToken(t, args)
	s := &server{t: t, cmd: exec.Command(program, args...), args: args, exited: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	s.cmd.Env = append(plainEnv(), env...)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // its result is in ProcessState
	}()
	t.Cleanup(func() {
		s.checkMetrics()
		s.kill()
		noted.Check(t, "the output of coatcheck "+strings.Join(args, " "), s.out.String())
		checkAudit(t, args)
		if t.Failed() {
			t.Logf("output of coatcheck %s:\n%s", strings.Join(args, " "), s.out.String())
		}
	})
	eventually(t, "the server says where to connect", func() bool {
		select {
		case <-s.exited:
			t.Fatalf("the server ended: %s", s.out.String())
		default:
		}
		s.url, s.admin = s.field("MCP endpoint"), s.field("Admin")
		return s.url != "" && s.admin != ""
	})
	return s
}

// plainEnv is the environment without what steers coatcheck.
func plainEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "COATCHECK_") || strings.HasPrefix(name, "SESSION_") || name == "REDIS_URL" || name == "DATABASE_URL" {
			continue
		}
		env = append(env, kv)
	}
	return env
}

// field is the first word after the label in what the server said at its start.
func (s *server) field(label string) string {
	for line := range strings.Lines(s.out.String()) {
		if rest, ok := strings.CutPrefix(line, label); ok && strings.HasSuffix(line, "\n") {
			word, _, _ := strings.Cut(strings.TrimSpace(rest), "/healthz")
			return word
		}
	}
	return ""
}

// kill ends the server as kill -9 does.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // an error says that it has ended
	<-s.exited
}

// restart starts it again on the same addresses and the same store.
func (s *server) restart() *server {
	s.t.Helper()
	return start(s.t, s.again())
}

// again is how to start it on the addresses that it got.
func (s *server) again() []string {
	host := func(url string) string {
		_, rest, _ := strings.Cut(url, "://")
		host, _, _ := strings.Cut(rest, "/")
		return host
	}
	args := append([]string(nil), s.args...)
	for i, a := range args {
		switch {
		case strings.HasPrefix(a, "--listen="):
			args[i] = "--listen=" + host(s.url)
		case strings.HasPrefix(a, "--admin-listen="):
			args[i] = "--admin-listen=" + host(s.admin)
		}
	}
	return args
}

// terminate sends SIGTERM.
func (s *server) terminate() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
}

// wait waits for the end and returns the exit status.
func (s *server) wait() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatal("the server does not end")
	}
	return s.cmd.ProcessState.ExitCode()
}

// get asks the admin listener.
func (s *server) get(path string) (int, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	noted.Check(s.t, "the admin listener at "+path, string(body))
	return resp.StatusCode, string(body)
}

// watch runs "sessions watch" until the test ends.
func watch(t testing.TB, store string) *log {
	t.Helper()
	out := &log{}
	cmd := exec.Command(executable, "sessions", "watch", "--json", store)
	cmd.Env = plainEnv()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("the watch ended before: %s", out)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the watch: %v: %s", err, out)
		}
		noted.Check(t, "sessions watch", out.String())
	})
	return out
}

// coatcheck runs a command to its end and returns what it printed and its exit
// status.
func coatcheck(t testing.TB, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	noteAdminToken(t, args)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, executable, args...)
	cmd.Env = plainEnv()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	noted.Check(t, "coatcheck "+strings.Join(args, " "), out.String()+errOut.String())
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}
