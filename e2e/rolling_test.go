package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
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
		for range 3 {
			f.launch(before)
		}
		patrons := make([]*patron, len(clients))
		for i := range patrons {
			patrons[i] = newPatron(t, i, f.balancer.url())
		}
		stop := make(chan struct{})
		var all sync.WaitGroup
		for _, p := range patrons {
			all.Go(func() { p.shop(stop) })
		}
		var updates []disturbance
		for i := range 3 {
			d := disturbance{what: drained, from: time.Now()}
			f.launch(after)
			if i == 1 {
				f.membersAre("v0.1.0-before", "v0.2.0-after")
			}
			f.drain(f.pick(0))
			d.to = time.Now()
			updates = append(updates, d)
		}
		close(stop)
		all.Wait()
		judge(t, patrons, updates)
		for _, p := range patrons {
			p.settle()
		}
		f.membersAre("v0.2.0-after")
	})
}

// membersAre makes sure that doctor sees replicas of these versions, and of no
// others.
func (f *fleet) membersAre(versions ...string) {
	f.t.Helper()
	for _, v := range versions {
		eventually(f.t, "a replica of version "+v, func() bool {
			return strings.Contains(fmt.Sprint(f.examined()), v)
		})
	}
	for _, m := range f.examined() {
		known := false
		for _, v := range versions {
			known = known || strings.Contains(m, v)
		}
		if !known {
			f.t.Errorf("doctor: %s", m)
		}
	}
}

// examined is what doctor says of the replicas.
func (f *fleet) examined() (details []string) {
	f.t.Helper()
	for _, o := range objects(f.t, append([]string{"doctor"}, f.flags(0)...)...) {
		if o["check"] == "replica" {
			details = append(details, fmt.Sprint(o["detail"]))
		}
	}
	return details
}
