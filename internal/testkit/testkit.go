// Package testkit finds what tests need beside Go: see the script "install"
// beside it, which "make test" runs first.
//
// What is missing on somebody's machine skips the test, by name and with the
// reason. In CI (CI=true) it fails: there everything has to run.
package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// minNode is the oldest major version of Node.js that the conformance suite
// works with.
const minNode = 22

// Missing ends the test because of what is missing.
func Missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing in CI: %s", why)
		return
	}
	t.Skipf("missing: %s; run make test", why)
}

// Root is the folder of the module.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("cannot tell where the source of the tests is")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Clients returns the folder of the npm clients, their packages installed.
func Clients(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(Root(t), "e2e", "clients")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".installed-lock")); err != nil {
		Missing(t, "the npm packages of e2e/clients")
	}
	return dir
}

// Node returns a Node.js that is new enough: the one among the npm packages
// where there is one for this platform, else the machine's.
func Node(t testing.TB) string {
	t.Helper()
	dir := Clients(t)
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	candidates := []string{filepath.Join(dir, "node_modules", "node-"+runtime.GOOS+"-"+arch, "bin", "node"), "node"}
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil && nodeMajor(path) >= minNode {
			return path
		}
	}
	Missing(t, fmt.Sprintf("Node.js %d or newer", minNode))
	return ""
}

// Chromium returns the browser that tests drive without a screen.
func Chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, "Chromium")
	return ""
}

func nodeMajor(path string) int {
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return 0
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		return 0
	}
	return n
}
