package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Imports    []string
}

func TestArchitecture(t *testing.T) {
	packages := list(t)
	if len(packages) < 3 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	for _, v := range check(packages) {
		t.Error(v)
	}
}

// list asks the go command, which knows of build constraints. Tests may import
// what they like, so their imports are not asked for.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// check returns what the packages do that the map does not allow.
func check(packages []pkg) []string {
	var violations []string
	for _, p := range packages {
		name, ok := local(p.ImportPath)
		if !ok {
			continue
		}
		if entry, _ := place(name); entry == "" {
			violations = append(violations, fmt.Sprintf("%s has no row: give it one in internal/arch/map_test.go and docs/architecture.md", name))
			continue
		}
		for _, imported := range p.Imports {
			if v := checkImport(name, imported); v != "" {
				violations = append(violations, v)
			}
		}
	}
	return violations
}

func checkImport(name, imported string) string {
	for prefix, allowed := range owners() {
		if within(imported, prefix) && !slices.ContainsFunc(allowed, func(owner string) bool { return within(name, owner) }) {
			return fmt.Sprintf("%s imports %s, which only %v may", name, imported, allowed)
		}
	}
	other, ours := local(imported)
	if !ours {
		entry, _ := place(name)
		if pure()[entry] && !standard(imported) {
			return fmt.Sprintf("%s imports %s, which is not of the standard library", name, imported)
		}
		return ""
	}
	entry, row := place(name)
	otherEntry, otherRow := place(other)
	if otherEntry == entry || otherRow < row {
		return ""
	}
	return fmt.Sprintf("%s imports %s, which is not below it", name, other)
}

// local returns the path of a package of this module within it.
func local(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }

// place returns the entry of the map that a package falls under, the longest
// that fits, and its row.
func place(name string) (entry string, row int) {
	for i, entries := range rows() {
		for _, e := range entries {
			if within(name, e) && len(e) > len(entry) {
				entry, row = e, i
			}
		}
	}
	return entry, row
}

// within reports whether path is the folder or in it. Major versions of a
// module lie in its folder.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// standard reports whether a package is of the standard library: the first
// element of others' paths has a dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// The check finds what it is there to find.
func TestCheckFindsViolations(t *testing.T) {
	for name, c := range map[string]struct {
		importer, imported, want string
	}{
		"downwards":            {"session", module + "/state", ""},
		"far down":             {"cmd/coatcheck", module + "/state", ""},
		"its own folder":       {"store/sqlite", module + "/store/sqlite/internal/vfs", ""},
		"its own driver":       {"store/sqlite", "github.com/ncruces/go-sqlite3/vfs", ""},
		"the standard library": {"state", "encoding/json", ""},
		"upwards":              {"state", module + "/session", "not below"},
		"store to session":     {"store/memory", module + "/session", "not below"},
		"state to its suite":   {"state", module + "/state/statetest", "not below"},
		"neighbours":           {"store/memory", module + "/store/sqlite", "not below"},
		"into the command":     {"admin", module + "/cmd/coatcheck", "not below"},
		"another's driver":     {"session", "github.com/ncruces/go-sqlite3", "only [store/sqlite]"},
		"a new major version":  {"store/memory", "github.com/jackc/pgx/v5/pgxpool", "only [store/postgres internal/testkit/postgresserver bench]"},
		"metrics in the core":  {"session", "github.com/prometheus/client_golang/prometheus", "only"},
		"a module in state":    {"state", "golang.org/x/sync/errgroup", "standard library"},
		"a module in session":  {"session", "golang.org/x/sync/errgroup", "standard library"},
		"tests in the product": {"session", "testing", "only"},
		"no row":               {"util", "fmt", "has no row"},
		"a name that begins":   {"statement", "fmt", "has no row"},
	} {
		got := check([]pkg{{ImportPath: module + "/" + c.importer, Imports: []string{c.imported}}})
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
