package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// executable is the coatcheck that the tests run, built once from this tree.
var executable string

// noted are the session ids and the tokens of the whole run. Whatever a
// coatcheck writes for people is searched for them.
var noted testkit.Secrets

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "coatcheck-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Some tests run it as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	executable = filepath.Join(dir, "coatcheck")
	if runtime.GOOS == "windows" {
		executable += ".exe"
	}
	build := exec.Command("go", "build", "-o", executable, "../cmd/coatcheck")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build coatcheck: %v\n%s", err, out)
		return 1
	}
	http.DefaultTransport = noted.Transport(http.DefaultTransport)
	return m.Run()
}
