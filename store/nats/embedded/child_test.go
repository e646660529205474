package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// childVariable has the options of a node in a process of its own.
const childVariable = "COATCHECK_TEST_EMBEDDED_CHILD"

type childOptions struct {
	Options  Options
	From, To int // the keys it writes

	NeverSync bool // not even each second
}

// runChild is the node. It says what was acknowledged, a line each, and does
// what its input says.
func runChild(text string) error {
	var child childOptions
	if err := json.Unmarshal([]byte(text), &child); err != nil {
		return err
	}
	if child.NeverSync {
		child.Options.NoSync, child.Options.syncEvery = true, time.Hour
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := Start(ctx, child.Options)
	if err != nil {
		return err
	}
	v, err := openVault(ctx, s)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	say("started")
	var l *load
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "load":
			l = startLoad(context.Background(), v, child.From, child.To, func(key, n int) { say("acked %d %d", key, n) })
		case "rest":
			l.stop()
			say("rests")
		}
	}
	return s.Close()
}

// A child is a node in a process of its own, seen from outside.
type child struct {
	cmd  *exec.Cmd
	in   interface{ Write([]byte) (int, error) }
	done chan struct{} // closed when it said all it had to say

	waited sync.Once

	mu    sync.Mutex // guards all below
	said  map[string]bool
	acked map[int]int
}

// startChild starts the process, which ends with the test.
func startChild(t *testing.T, opts childOptions) *child {
	t.Helper()
	text, err := json.Marshal(opts)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=^$"), done: make(chan struct{}), said: map[string]bool{}, acked: map[int]int{}}
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.hear(lines.Text())
		}
	}()
	t.Cleanup(c.kill)
	return c
}

func (c *child) hear(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var key, n int
	if _, err := fmt.Sscanf(line, "acked %d %d", &key, &n); err == nil {
		c.acked[key] = n
		return
	}
	c.said[line] = true
}

func (c *child) has(line string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said[line]
}

// tell has it do something.
func (c *child) tell(t *testing.T, line string) {
	t.Helper()
	if _, err := c.in.Write([]byte(line + "\n")); err != nil {
		t.Errorf("tell a node: %v", err)
	}
}

// least is the number that the slowest of its keys has come to.
func (c *child) least() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	least := 0
	for _, n := range c.acked {
		if least == 0 || n < least {
			least = n
		}
	}
	if len(c.acked) < keysOfChild {
		return 0
	}
	return least
}

// kill is kill -9. What it acknowledged before is known.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.done
	c.waited.Do(func() { _ = c.cmd.Wait() }) // it was killed
}
