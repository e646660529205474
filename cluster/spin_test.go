package cluster

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// The model of who may write for a session is checked in all its states: one
// owner writes at a time, nothing acknowledged is lost, and after any single
// failure every history goes on to its end. Without what the model is about the
// same check fails.
func TestOwnershipModel(t *testing.T) {
	for _, c := range []struct {
		name    string
		define  string   // what is left out of the model
		compile []string // how it is to be checked
		run     []string
		want    string // said by the checker
		errors  bool
	}{
		{"one owner writes", "", []string{"-DSAFETY", "-DNOCLAIM"}, nil, "assertion violations\t+", false},
		{"every history goes on", "", []string{"-DNFAIR=3"}, []string{"-a", "-f"}, "acceptance   cycles \t+", false},
		{"without fencing", "-DNO_FENCING", []string{"-DSAFETY", "-DNOCLAIM"}, nil, "assertion violated", true},
		{"without takeover", "-DNO_TAKEOVER", []string{"-DNFAIR=3"}, []string{"-a", "-f"}, "acceptance cycle", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := checkModel(t, c.define, c.compile, c.run)
			if !strings.Contains(out, c.want) || strings.Contains(out, "errors: 0\n") == c.errors || strings.Contains(out, "max search depth too small") {
				t.Errorf("the checker says:\n%s", out)
			}
		})
	}
}

func checkModel(t *testing.T, define string, compile, run []string) string {
	t.Helper()
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			testkit.Missing(t, tool+" (Debian: apt-get install spin gcc libc6-dev)")
		}
	}
	model, err := filepath.Abs(filepath.Join("model", "ownership.pml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	call := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	spin := []string{"-a"}
	if define != "" {
		spin = append(spin, define)
	}
	call("spin", append(spin, model)...)
	call("gcc", append(compile, "-O1", "-w", "-o", "pan", "pan.c")...)
	return call("./pan", append(run, "-m100000")...)
}
