package testkit

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A Process is a program that a test runs, several times if it likes, one after
// the other. It ends with the test, even if that is killed.
type Process struct {
	t    testing.TB
	dir  string
	bin  string
	args []string

	mu     sync.Mutex // guards all below
	cmd    *exec.Cmd  // nil while it does not run
	exited chan struct{}
	output *output
}

// NewProcess returns a program in a folder, which does not run yet.
func NewProcess(t testing.TB, dir, bin string, args ...string) *Process {
	p := &Process{t: t, dir: dir, bin: bin, args: args, output: &output{}}
	t.Cleanup(p.Kill)
	return p
}

// Run starts the program, which must not run.
func (p *Process) Run() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.t.Fatalf("%s runs already", p.bin)
	}
	p.output = &output{}
	cmd := exec.Command(p.bin, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, p.output, p.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.bin, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	p.cmd, p.exited = cmd, exited
}

// Runs reports whether the program was started and not killed since.
func (p *Process) Runs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// Suspend stops the process with SIGSTOP, until Resume.
func (p *Process) Suspend() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		Suspend(p.t, p.cmd.Process.Pid)
	}
}

// Resume lets a suspended process go on.
func (p *Process) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
	}
}

// Kill ends the process at once, as kill -9 does, and waits for its end.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.exited
	p.cmd = nil
}

// Output returns the last lines that the program wrote since it was started.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.tail()
}

// output keeps what a process writes.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(o.buf.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
