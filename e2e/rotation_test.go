package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	storeopen "github.com/coatcheck-mcp/coatcheck/store/open"
)

// command is a coatcheck that runs beside the test.
type command struct {
	cmd    *exec.Cmd
	log    log
	exited chan struct{}
}

// launch starts a command; it is ended with the test.
func launch(t testing.TB, args ...string) *command {
	t.Helper()
	c := &command{cmd: exec.Command(executable, args...), exited: make(chan struct{})}
	c.cmd.Env = plainEnv()
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.exited)
		_ = c.cmd.Wait() // its result is in ProcessState
	}()
	t.Cleanup(func() {
		c.kill()
		noted.Check(t, "coatcheck "+strings.Join(args, " "), c.log.String())
	})
	return c
}

func (c *command) kill() { c.signal(syscall.SIGKILL) }

// signal sends a signal and waits for the end.
func (c *command) signal(s syscall.Signal) {
	_ = c.cmd.Process.Signal(s) // an error says that it has ended
	<-c.exited
}

// says waits until the command has printed the text.
func (c *command) says(t testing.TB, text string) {
	t.Helper()
	eventually(t, "the command says "+text, func() bool {
		select {
		case <-c.exited:
			if !strings.Contains(c.log.String(), text) {
				t.Fatalf("it ended: %s", c.log.String())
			}
		default:
		}
		return strings.Contains(c.log.String(), text)
	})
}

// fill creates n records beside the server's.
func fill(t *testing.T, url, ring string, n int) {
	t.Helper()
	opts := storeopen.Options{}
	if ring != "" {
		keys, err := keyring.Open(t.Context(), ring, keyring.Options{})
		if err != nil {
			t.Fatal(err)
		}
		opts.Ring = keys
	}
	s, err := storeopen.Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ops := make([]state.Op, n)
	for i := range ops {
		ref, err := state.NewRef(0, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r := state.Record{Namespace: "default", Kind: "session", Ref: ref, User: fmt.Sprintf("user-%d", i)}
		ops[i] = state.CreateOp{Record: r, Idle: time.Hour, Lifetime: time.Hour}
	}
	for _, res := range s.Apply(t.Context(), ops...) {
		if res.Err != nil {
			t.Fatal(res.Err)
		}
	}
}

// keepPutting puts things into the basket of a session until the context ends, and
// begins another session before it is full. Every answer must be a success.
func keepPutting(ctx context.Context, t *testing.T, url string, done *atomic.Int64) {
	const room = 400
	var id string
	for n := 0; ctx.Err() == nil; n++ {
		if n%room == 0 {
			if id = tryOpen(t.Context(), url); id == "" {
				t.Error("a session was not begun")
				return
			}
		}
		if !put(t, url, id, fmt.Sprintf("thing %d", n)) {
			t.Error("an item was not acknowledged")
			return
		}
		done.Add(1)
	}
}

// tryOpen is open for goroutines beside the test; it returns "" in place of
// failing.
func tryOpen(ctx context.Context, url string) string {
	r, err := try(ctx, http.DefaultClient, http.MethodPost, url, initialize, nil)
	if err != nil || r.status != http.StatusOK {
		return ""
	}
	id := r.header.Get("Mcp-Session-Id")
	r, err = try(ctx, http.DefaultClient, http.MethodPost, url, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, sessionHeaders(id, ""))
	if err != nil || r.status != http.StatusAccepted {
		return ""
	}
	return id
}

// A key is rotated while a server works, the rotation is killed in the middle
// and taken up again, and no client notices.
func TestKeysAreRotatedUnderLoadThoughTheRotationIsKilled(t *testing.T) {
	overDatabases(t, func(t *testing.T, db database) {
		ring := filepath.Join(t.TempDir(), "ring")
		if _, stderr, status := coatcheck(t, "keys", "generate", "--key-ring="+ring); status != 0 {
			t.Fatal(stderr)
		}
		flags := []string{"--key-ring=" + ring, "--store=" + db.url}
		s := serve(t, "", append(flags, "--max-sessions-per-user=0")...)
		fill(t, db.url, ring, 1000)
		old := open(t, s.url, "")

		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var wg sync.WaitGroup
		var acknowledged atomic.Int64
		for range 4 {
			wg.Go(func() { keepPutting(ctx, t, s.url, &acknowledged) })
		}

		rotate := append([]string{"keys", "rotate", "--pause=100ms"}, flags...)
		first := launch(t, rotate...)
		first.says(t, "looked at")
		first.kill()
		again := launch(t, append(rotate, "--resume")...)
		again.says(t, "looked at")
		again.signal(syscall.SIGINT)
		if got := again.cmd.ProcessState.ExitCode(); got != 1 || !strings.Contains(again.log.String(), "--resume") {
			t.Errorf("interrupted: status %d, %s", got, again.log.String())
		}
		before := acknowledged.Load()
		out, stderr, status := coatcheck(t, append([]string{"keys", "rotate", "--resume", "--revoke"}, flags...)...)
		if status != 0 || !strings.Contains(stderr, "is revoked") {
			t.Fatalf("resume: status %d, %s%s", status, out, stderr)
		}
		eventually(t, "clients work with the new key alone", func() bool { return acknowledged.Load() > before+20 })
		stop()
		wg.Wait()
		if r := ping(t, s.url, old, ""); r.status != http.StatusOK {
			t.Errorf("a session from before: %d %s", r.status, r.body)
		}
		keys := objects(t, "keys", "list", "--key-ring="+ring)
		if len(keys) != 2 || keys[0]["state"] != "revoked" || keys[1]["state"] != "active" {
			t.Errorf("keys: %v", keys)
		}
		if listed := objects(t, append([]string{"sessions", "list"}, flags...)...); len(listed) < 1000 {
			t.Errorf("%d sessions are listed", len(listed))
		}
		if strings.Contains(s.out.String(), "was not opened") {
			t.Error("the server met something that it could not open")
		}
	})
}
