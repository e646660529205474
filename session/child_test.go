package session_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

// The tests that kill a process start this test binary again, with a role.
const (
	childRole = "COATCHECK_SESSION_TEST_CHILD"
	childPath = "COATCHECK_SESSION_TEST_PATH"

	regenerates = "regenerates"  // as it should be
	inTwoSteps  = "in two steps" // as the guide does it
)

// childGrace outlasts the check that follows a kill.
const childGrace = time.Hour

func runChild(role string) int {
	store, err := sqlite.Open(context.Background(), os.Getenv(childPath), sqlite.Options{})
	if err == nil {
		c := &regenerator{out: os.Stdout}
		c.Manager, err = session.NewManager(store, session.Options{
			Rand: told{c.out}, Policy: session.Policy{RegenerateInterval: 24 * time.Hour, MaxPerUser: -1},
		})
		if err == nil && role == regenerates {
			err = c.run(context.Background())
		} else if err == nil {
			err = c.runInTwoSteps(context.Background())
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// told tells the parent what it read before anybody can use it, so that the
// parent knows each secret that may be in the store.
type told struct{ out io.Writer }

func (t told) Read(p []byte) (int, error) {
	_, _ = rand.Read(p) // never fails
	_, err := fmt.Fprintln(t.out, "random", hex.EncodeToString(p))
	return len(p), err
}

// A regenerator works until it is killed. Each line it writes is one system
// call: it is in the pipe or it is not.
type regenerator struct {
	*session.Manager
	out io.Writer
	id  session.ID
}

// step says what is about to happen, does it, and says which id a client would
// have been given.
func (c *regenerator) step(name string, do func() (*session.Session, error)) error {
	if _, err := fmt.Fprintln(c.out, "begin", name); err != nil {
		return err
	}
	s, err := do()
	if err != nil {
		return err
	}
	c.id = s.ID
	_, err = fmt.Fprintln(c.out, "hand", s.ID.Reveal())
	return err
}

func (c *regenerator) run(ctx context.Context) error {
	for {
		for _, step := range []struct {
			name string
			do   func() (*session.Session, error)
		}{
			{"create", func() (*session.Session, error) {
				return c.Create(ctx, session.CreateRequest{Data: map[string]json.RawMessage{"k": json.RawMessage(`1`)}})
			}},
			{"grace", func() (*session.Session, error) { return c.Regenerate(ctx, c.id, childGrace) }},
			{"sign-in", func() (*session.Session, error) {
				return c.SignIn(ctx, c.id, session.SignInRequest{User: "ann"})
			}},
			{"again", func() (*session.Session, error) {
				return c.SignIn(ctx, c.id, session.SignInRequest{User: "ann"})
			}},
			{"grace", func() (*session.Session, error) { return c.Regenerate(ctx, c.id, childGrace) }},
			{"elevate", func() (*session.Session, error) {
				return c.Elevate(ctx, c.id, func(s *session.Session) error { return s.Set("role", "admin") })
			}},
		} {
			if err := c.step(step.name, step.do); err != nil {
				return err
			}
		}
	}
}

// runInTwoSteps ends a session and makes another, and waits between the two.
func (c *regenerator) runInTwoSteps(ctx context.Context) error {
	if err := c.step("create", func() (*session.Session, error) {
		return c.Create(ctx, session.CreateRequest{Data: map[string]json.RawMessage{"k": json.RawMessage(`1`)}})
	}); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "begin again")
	if err := c.Delete(ctx, c.id); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "between")
	_, err := io.Copy(io.Discard, os.Stdin) // until it is killed
	return err
}

// A history is what the child said until it was killed.
type history struct {
	held    session.ID // what its client has
	step    string     // what was under way; "" if nothing
	secrets []string   // what may be in the store since, in hex
}

func (h *history) note(t *testing.T, line string) {
	what, rest, _ := strings.Cut(line, " ")
	switch what {
	case "random":
		h.secrets = append(h.secrets, rest)
	case "begin":
		h.step, h.secrets = rest, nil
	case "hand":
		id, err := session.ParseID(rest)
		if err != nil {
			t.Fatalf("the child handed out %q", rest)
		}
		h.held, h.step, h.secrets = id, "", nil
	}
}

// killed runs a child until it has written so many lines, or one that begins
// with last, kills it, and returns what it said.
func killed(t *testing.T, role, path string, lines int, last string) history {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"="+role, childPath+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	var h history
	read := bufio.NewScanner(stdout)
	for n := 1; read.Scan(); n++ {
		h.note(t, read.Text())
		if n == lines || last != "" && strings.HasPrefix(read.Text(), last) {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if stderr.Len() > 0 {
		t.Fatalf("the child failed: %s", stderr.String())
	}
	return h
}
