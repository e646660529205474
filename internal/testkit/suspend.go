package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Suspend stops processes with SIGSTOP and waits until none of their threads
// runs: the signal by itself only asks for that, and a process may answer a
// request after it was sent. SIGCONT lets them go on. Processes that have ended
// are left out.
func Suspend(t testing.TB, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("stop process %d: %v", pid, err)
		}
	}
	deadline := time.Now().Add(time.Minute)
	for _, pid := range pids {
		for runs(pid) {
			if time.Now().After(deadline) {
				t.Errorf("process %d does not stop", pid)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// runs reports whether a thread of the process is neither stopped nor at its
// end.
func runs(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// The state follows the name, which may have any character in it.
		state := strings.TrimSpace(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if !strings.ContainsAny(state[:1], "TtZX") {
			return true
		}
	}
	return false
}
