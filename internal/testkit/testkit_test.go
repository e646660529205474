package testkit_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

func TestRootHasTheModule(t *testing.T) {
	if _, err := os.Stat(filepath.Join(testkit.Root(t), "go.mod")); err != nil {
		t.Error(err)
	}
}

// ended records how a test would have ended.
type ended struct {
	testing.TB
	how, why string
}

func (e *ended) Helper()                   {}
func (e *ended) Fatalf(f string, a ...any) { e.how, e.why = "failed", a[0].(string) }
func (e *ended) Skipf(f string, a ...any)  { e.how, e.why = "skipped", a[0].(string) }

func TestMissingSkipsAtHomeAndFailsInCI(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped", "true": "failed"} {
		t.Setenv("CI", ci)
		e := &ended{TB: t}
		testkit.Missing(e, "a spoon")
		if e.how != want || e.why != "a spoon" {
			t.Errorf("CI=%q: %s for %q, want %s", ci, e.how, e.why, want)
		}
	}
}

func TestNodeRunsTheClients(t *testing.T) {
	cmd := exec.Command(testkit.Node(t), "-e", "import('@modelcontextprotocol/client').then(() => console.log('ok'))")
	cmd.Dir = testkit.Clients(t)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestLockFileNamesNoRegistry(t *testing.T) {
	lock, err := os.ReadFile(filepath.Join(testkit.Root(t), "e2e", "clients", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(lock), `"resolved"`) {
		t.Error("package-lock.json has resolved addresses; install with omit-lockfile-registry-resolved")
	}
}

// TestInstallSaysWhatIsMissing runs the script where there is nothing on the
// PATH, a package manager neither.
func TestInstallSaysWhatIsMissing(t *testing.T) {
	bin := t.TempDir()
	for _, tool := range []string{"env", "bash", "dirname", "cmp", "cp", "id"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	for ci, want := range map[string]int{"": 0, "true": 1} {
		cmd := exec.Command(filepath.Join(testkit.Root(t), "internal", "testkit", "install"))
		cmd.Env = []string{"PATH=" + bin, "CI=" + ci}
		out, err := cmd.CombinedOutput()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != want || !strings.Contains(string(out), "cannot be installed from here: nodejs npm redis-server redis-sentinel") {
			t.Errorf("CI=%q: status %d, want %d: %s", ci, got, want, out)
		}
	}
}
