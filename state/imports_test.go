package state_test

import (
	"os/exec"
	"strings"
	"testing"
)

// Whoever imports state gets no driver and no framework with it.
func TestOnlyTheStandardLibraryIsImported(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if got := strings.Fields(string(out)); len(got) != 1 || !strings.HasSuffix(got[0], "/state") {
		t.Errorf("beyond the standard library state imports %v", got)
	}
}
