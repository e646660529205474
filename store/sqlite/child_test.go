package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// The tests that need other processes start this test binary again, with a
// role to play.
const (
	childRole = "COATCHECK_SQLITE_TEST_CHILD"
	childPath = "COATCHECK_SQLITE_TEST_PATH"
)

// runChild plays a role and returns the exit code.
func runChild(role string) int {
	s, err := Open(context.Background(), os.Getenv(childPath), Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	switch role {
	case "writer": // writes until it is killed
		err = childWrite(s)
	case "revoker": // deletes what it is told
		err = childRevoke(s)
	case "opener": // only opens
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if closeErr := s.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func childWrite(s *Store) error {
	work(context.Background(), s, func(ref state.Ref, version uint64) {
		// One system call: a line is in the pipe or it is not.
		fmt.Fprintf(os.Stdout, "%s %d\n", ref, version)
	})
	return fmt.Errorf("the writer stopped by itself")
}

func childRevoke(s *Store) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		ref, err := state.ParseRef(lines.Text())
		if err != nil {
			return err
		}
		r, err := state.Do(context.Background(), s, state.DeleteOp{
			Key: state.Key{Namespace: testNamespace, Ref: ref}, Reason: state.ReasonRevoked, By: "operator",
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "%d\n", len(r.Ended))
	}
	return lines.Err()
}

// startChild starts another process that has the file open.
func startChild(t *testing.T, role, path string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"="+role, childPath+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, lines: bufio.NewScanner(stdout)}
	cmd.Stderr = &c.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.tell = func(line string) error {
		_, err := fmt.Fprintln(stdin, line)
		return err
	}
	c.hangUp = stdin.Close
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		watchdog.Stop()
		_ = cmd.Process.Kill() // it has ended already if all went well
		_ = c.wait()
	})
	return c
}

type child struct {
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr strings.Builder
	tell   func(line string) error
	hangUp func() error
	waited bool
}

func (c *child) wait() error {
	if c.waited {
		return nil
	}
	c.waited = true
	return c.cmd.Wait()
}
