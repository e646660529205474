//go:build unix

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user who may do nothing in particular.
const nobody = 65534

// asNobody runs a command without privileges: root may write everywhere.
func asNobody(t *testing.T, args ...string) (stderr string, status int) {
	t.Helper()
	cmd := exec.Command(executable, args...)
	cmd.Env = plainEnv()
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestAStoreThatCannotBeUsedIsNamed(t *testing.T) {
	locked := t.TempDir()
	readOnly := filepath.Join(t.TempDir(), "coatcheck.db")
	if err := os.WriteFile(readOnly, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "coatcheck.db")
	if err := os.WriteFile(secret, nil, 0o000); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(locked, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chmod(locked, 0o755); err != nil {
			t.Error(err)
		}
	})
	for name, path := range map[string]string{
		"a folder that may not be written": filepath.Join(locked, "sub", "coatcheck.db"),
		"a file that may not be written":   readOnly,
		"a file that may not be read":      secret,
		"a folder":                         filepath.Dir(readOnly),
	} {
		t.Run(name, func(t *testing.T) {
			stderr, status := asNobody(t, "serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=sqlite:"+path)
			if status != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, path) {
				t.Errorf("serve: status %d, %q; want status 1 and one line that names the store", status, stderr)
			}
		})
	}
	if stderr, status := asNobody(t, "sessions", "list", "--store=sqlite:"+secret); status != 1 || !strings.Contains(stderr, secret) {
		t.Errorf("sessions list: status %d, %q", status, stderr)
	}
	if stderr, status := asNobody(t, "doctor", "--store=sqlite:"+secret); status != 1 || stderr == "" {
		t.Errorf("doctor: status %d, %q", status, stderr)
	}
}

func TestASecondServerOnTheSameAddressSaysSo(t *testing.T) {
	s := serve(t, t.TempDir())
	addr := strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/mcp")
	empty := t.TempDir()
	_, stderr, status := coatcheck(t, "serve", "--listen="+addr, "--admin-listen=127.0.0.1:0", "--store=sqlite:"+filepath.Join(empty, "x.db"))
	if status != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, addr) {
		t.Errorf("status %d, %q", status, stderr)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}
