package main

import (
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// docs/operations.md promises every flag; those of "store migrate" stand in
// docs/migration.md.
func TestOperationsNamesEveryFlagAndMetric(t *testing.T) {
	var text []byte
	for _, name := range []string{"operations", "migration"} {
		part, err := os.ReadFile("../../docs/" + name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	parser, err := kong.New(&cli{}, kong.DefaultEnvars("COATCHECK"))
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			flags++
			if f.Name != "help" && !strings.Contains(string(text), "`--"+f.Name) {
				t.Errorf("docs/operations.md does not name --%s of %s", f.Name, n.Path())
			}
		}
		for _, c := range n.Children {
			visit(c)
		}
	}
	visit(parser.Model.Node)
	if flags < 20 {
		t.Fatalf("found %d flags", flags)
	}
	m, err := newMetrics([]string{"l1"})
	if err != nil {
		t.Fatal(err)
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		name := f.GetName()
		if strings.HasPrefix(name, "session") && !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/operations.md does not name the metric %s", name)
		}
	}
}
