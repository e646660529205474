package main

import (
	"os"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/store/open"
)

func TestAStoreIsMigratedAndSealed(t *testing.T) {
	plain(t)
	dir := t.TempDir()
	from, to := "sqlite:"+dir+"/from.db", "sqlite:"+dir+"/to.db"
	s, err := open.Open(t.Context(), from, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 300 {
		create(t, s, "ann", "session")
	}
	create(t, s, "", "basket")
	create(t, s, "", "_node") // what is of running processes stays
	ring := dir + "/ring"
	if _, stderr, status := command(t, "keys", "generate", "--key-ring="+ring); status != exitOK {
		t.Fatal(stderr)
	}
	migrate := []string{"store", "migrate", "--from=" + from, "--to=" + to, "--to-key-ring=" + ring, "--to-namespace=sealed"}
	for i, want := range []string{"301 records: 301 copied", "301 records: 0 copied"} {
		stdout, stderr, status := command(t, migrate...)
		if status != exitOK || !strings.HasPrefix(stdout, want) {
			t.Errorf("pass %d: status %d, %q, %q", i, status, stdout, stderr)
		}
	}
	sealed := []string{"--store=" + to, "--key-ring=" + ring, "--namespace=sealed", "--json"}
	for kind, want := range map[string]int{"session": 300, "basket": 1, "_node": 0} {
		stdout, stderr, status := command(t, append([]string{"sessions", "list", "--kind=" + kind}, sealed...)...)
		if status != exitOK || strings.Count(stdout, "\n") != want {
			t.Errorf("%s: status %d, %d lines, %s", kind, status, strings.Count(stdout, "\n"), stderr)
		}
	}
	if _, stderr, status := command(t, "sessions", "list", "--store="+to, "--namespace=sealed"); status != exitError || !strings.Contains(stderr, "encrypted") {
		t.Errorf("without the key: status %d, %q", status, stderr)
	}
	stdout, stderr, status := command(t, append(migrate, "--end-source")...)
	if status != exitOK || !strings.Contains(stdout, "301 ended in the source") {
		t.Errorf("the end: status %d, %q, %q", status, stdout, stderr)
	}
	if stdout, _, _ := command(t, "sessions", "list", "--json", "--store="+from); stdout != "" {
		t.Errorf("left in the source: %s", stdout)
	}
}

func TestSessionsAreExportedAndImported(t *testing.T) {
	t.Chdir(t.TempDir())
	plain(t)
	s, err := open.Open(t.Context(), "sqlite:from.db", open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := create(t, s, "ann", "session")
	create(t, s, "ann", "basket")
	export := []string{"sessions", "export", "out.jsonl", "--store=sqlite:from.db"}
	stdout, stderr, status := command(t, export...)
	if status != exitOK || stdout != "2 exported\n" {
		t.Fatalf("export: status %d, %q, %q", status, stdout, stderr)
	}
	if info, err := os.Stat("out.jsonl"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	expectMistake(t, "out.jsonl is there already", export...)
	for _, want := range []string{"2 imported, 0 were there, 0 have expired\n", "0 imported, 2 were there, 0 have expired\n"} {
		stdout, stderr, status := command(t, "sessions", "import", "out.jsonl", "--store=sqlite:to.db")
		if status != exitOK || stdout != want {
			t.Errorf("import: status %d, %q, %q; want %q", status, stdout, stderr, want)
		}
	}
	if stdout, stderr, status := command(t, "sessions", "show", ref.String(), "--store=sqlite:to.db"); status != exitOK || !strings.Contains(stdout, "ann") {
		t.Errorf("show: status %d, %q, %q", status, stdout, stderr)
	}
	if err := os.Chmod("out.jsonl", 0o644); err != nil {
		t.Fatal(err)
	}
	expectMistake(t, "chmod 600", "sessions", "import", "out.jsonl", "--store=sqlite:to.db")
	expectMistake(t, "absent", "sessions", "import", "absent", "--store=sqlite:to.db")
	if _, stderr, status := command(t, "sessions", "export", "none.jsonl", "--store=sqlite:absent.db"); status != exitError || !strings.Contains(stderr, "no store") {
		t.Errorf("export of nothing: status %d, %q", status, stderr)
	}
	if _, err := os.Stat("none.jsonl"); err == nil {
		t.Error("an export that failed left a file")
	}
}
