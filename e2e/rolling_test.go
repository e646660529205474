package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// build builds the program as a version of its own.
func build(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "coatcheck-"+version)
	cmd := exec.Command("go", "build", "-ldflags=-X main.release="+version, "-o", path, "../cmd/coatcheck")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return path
}

// TestTwoVersionsServeTogetherDuringARollingUpdate replaces replicas of one
// version by those of the next, one after another, under clients that notice
// nothing at all.
func TestTwoVersionsServeTogetherDuringARollingUpdate(t *testing.T) {
	before, after := build(t, "v0.1.0-before"), build(t, "v0.2.0-after")
	overSharedStores(t, func(t *testing.T, f *fleet) {
		f.grow(3, before)
		p := newParty(t, len(clients), f.balancer.url())
		var updates []disturbance
		for i := range 3 {
			updates = append(updates, p.during(drained, func() { f.replace(f.pick(0), after) }))
			if i == 1 {
				f.membersAre("v0.1.0-before", "v0.2.0-after")
			}
		}
		p.judge(&f.store, updates)
		f.membersAre("v0.2.0-after")
	})
}
