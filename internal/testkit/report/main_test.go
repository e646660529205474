package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module makes a module with the given test file and enters it.
func module(t *testing.T, test string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module probe\n\ngo 1.26\n", "probe_test.go": test} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func TestReportSaysWhatRan(t *testing.T) {
	module(t, `package probe
import "testing"
func TestGood(t *testing.T) { t.Run("inner", func(t *testing.T) {}) }
func TestAbsent(t *testing.T) { t.Skip("no spoon here") }
`)
	var out strings.Builder
	if code := run([]string{"./..."}, &out, &out); code != 0 {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{"ok  \tprobe\t", "\t3 tests\n", "\nskipped:\n  no spoon here:\n    probe.TestAbsent\n", "\n2 passed, 0 failed, 1 skipped\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

func TestReportFails(t *testing.T) {
	for name, c := range map[string]struct{ test, want string }{
		"on a failed test":         {"package probe\nimport \"testing\"\nfunc TestBad(t *testing.T) { t.Error(\"bent spoon\") }\n", "bent spoon"},
		"on a panic":               {"package probe\nimport \"testing\"\nfunc TestBad(t *testing.T) { panic(\"lost spoon\") }\n", "lost spoon"},
		"on what does not compile": {"package probe\nfunc helper() { spoon() }\n", "undefined: spoon"},
		"on a test that exits":     {"package probe\nimport (\"os\"; \"testing\")\nfunc TestMain(m *testing.M) { println(\"gone spoon\"); os.Exit(3) }\n", "gone spoon"},
		"on a signal":              {"package probe\nimport (\"syscall\"; \"testing\")\nfunc TestHangs(t *testing.T) { syscall.Kill(syscall.Getpid(), syscall.SIGQUIT); select {} }\n", "goroutine "},
	} {
		t.Run(name, func(t *testing.T) {
			module(t, c.test)
			var out strings.Builder
			if code := run([]string{"./..."}, &out, &out); code != 1 {
				t.Errorf("exit %d, want 1", code)
			}
			if !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), " 0 failed") {
				t.Errorf("no %q, or no failure, in:\n%s", c.want, out.String())
			}
		})
	}
}
