package testkit_test

import (
	"bufio"
	"os/exec"
	"syscall"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

func TestSuspendedProcessIsStoppedWhenSuspendReturns(t *testing.T) {
	cmd := exec.Command("sh", "-c", "while :; do echo x; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	r := bufio.NewReader(out)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	testkit.Suspend(t, cmd.Process.Pid)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED|syscall.WNOHANG, nil); err != nil || !status.Stopped() {
		t.Errorf("it is not stopped: %v, %v", status, err)
	}
}
