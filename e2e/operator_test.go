package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	annToken = "Zm9yIGFubiBhbmQgbm9ib2R5IGVsc2U"
	bobToken = "Zm9yIGJvYiBhbmQgbm9ib2R5IGVsc2U"
)

// serveTokens serves users ann and bob and returns the --store flag, too.
func serveTokens(t *testing.T, flags ...string) (*server, string) {
	t.Helper()
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	if err := os.WriteFile(tokens, []byte(annToken+" ann\n"+bobToken+" bob\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return serve(t, dir, append([]string{"--auth=tokens:" + tokens}, flags...)...), "--store=sqlite:" + dir + "/coatcheck.db"
}

// objects runs a command with --json and returns what it printed.
func objects(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	out, stderr, status := coatcheck(t, append(args, "--json")...)
	if status != 0 {
		t.Fatalf("%q: status %d, %s", args, status, stderr)
	}
	var all []map[string]any
	for line := range strings.Lines(out) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q printed %q: %v", args, line, err)
		}
		all = append(all, o)
	}
	return all
}

func TestOperatorsSeeAndEndSessionsOfARunningServer(t *testing.T) {
	for _, c := range clients {
		if c.modern {
			continue // has no session
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, store := serveTokens(t)
			p := c.peer(t)
			if err := p.connect(s.url, annToken); err != nil {
				t.Fatal(err)
			}
			ask(t, p, "add_item", map[string]any{"item": "hat"})
			id := p.session()
			ref, secret, _ := strings.Cut(id, ".")

			expectListed(t, store, ref, secret)

			out, _, status := coatcheck(t, "sessions", "revoke", ref, store)
			if status != 0 || strings.TrimSpace(out) != "revoked 1" {
				t.Fatalf("revoke: status %d, %q", status, out)
			}
			if r := ping(t, s.url, id, annToken); r.status != http.StatusNotFound {
				t.Errorf("the next request: %d, want 404", r.status)
			}
			if _, err := p.call("view_basket", map[string]any{}); err == nil {
				t.Error("the client can go on")
			}
			expectExplained(t, store, ref)

			if err := p.connect(s.url, annToken); err != nil {
				t.Fatalf("the client cannot begin anew: %v", err)
			}
			if p.session() == id {
				t.Error("the client has its old session id")
			}
			if got := items(t, ask(t, p, "view_basket", map[string]any{})); got != "" {
				t.Errorf("the new session has %q", got)
			}
			if listed := objects(t, "sessions", "list", store); len(listed) != 1 || listed[0]["ref"] == ref {
				t.Errorf("listed: %v", listed)
			}
		})
	}
}

func expectListed(t *testing.T, store, ref, secret string) {
	t.Helper()
	listed := objects(t, "sessions", "list", store)
	if len(listed) != 1 {
		t.Fatalf("%d sessions listed, want 1", len(listed))
	}
	for _, field := range []string{"ref", "kind", "user", "state", "created_at", "last_accessed", "expires_at", "owner"} {
		if _, ok := listed[0][field]; !ok {
			t.Errorf("no %s in %v", field, listed[0])
		}
	}
	if o := listed[0]; o["ref"] != ref || o["kind"] != "session" || o["user"] != "ann" {
		t.Errorf("listed %v", o)
	}
	for _, args := range [][]string{
		{"sessions", "list", store}, {"sessions", "list", store, "--json"},
		{"sessions", "show", ref, store, "--data"}, {"sessions", "show", ref, store, "--data", "--json"},
		{"sessions", "explain", ref, store}, {"doctor", store},
	} {
		out, stderr, status := coatcheck(t, args...)
		if status != 0 {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
		if strings.Contains(out+stderr, secret) {
			t.Errorf("%q prints the secret", args)
		}
		if args[0] == "sessions" && !strings.Contains(out, ref) {
			t.Errorf("%q does not print the ref: %s", args, out)
		}
	}
}

func expectExplained(t *testing.T, store, ref string) {
	t.Helper()
	told := objects(t, "sessions", "explain", ref, store)
	if len(told) != 1 {
		t.Fatalf("explain printed %d lines", len(told))
	}
	e := told[0]
	by, _ := e["by"].(string)
	text, _ := e["ended_at"].(string)
	at, err := time.Parse(time.RFC3339, text)
	if e["live"] != false || e["reason"] != "revoked" || !strings.HasPrefix(by, "cli:") || by == "cli:" ||
		err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("explained %v", e)
	}
	out, _, _ := coatcheck(t, "sessions", "explain", ref, store)
	if !strings.Contains(out, by) || !strings.Contains(out, "revoked") {
		t.Errorf("explained as %q", out)
	}
}

func TestSessionsAreFilteredAndRevokedTogether(t *testing.T) {
	s, store := serveTokens(t)
	ann1, ann2, bob := open(t, s.url, annToken), open(t, s.url, annToken), open(t, s.url, bobToken)
	for _, c := range []struct {
		flags string
		want  int
	}{
		{"", 3}, {"--user=ann", 2}, {"--user=bob", 1}, {"--user=eve", 0}, {"--max=2", 2},
		{"--address=127.0.0.1", 3}, {"--address=127.0.0.0/8", 3}, {"--address=10.0.0.0/8", 0},
		{"--created-after=1h", 3}, {"--created-before=1h", 0}, {"--created-after=2999-01-01", 0},
		{"--state=expired", 0}, {"--kind=basket", 0}, {"--owner=nobody", 0},
	} {
		if got := objects(t, append([]string{"sessions", "list", store}, strings.Fields(c.flags)...)...); len(got) != c.want {
			t.Errorf("list %s: %d sessions, want %d", c.flags, len(got), c.want)
		}
	}
	revoke := func(want string, flags ...string) {
		t.Helper()
		out, stderr, status := coatcheck(t, append([]string{"sessions", "revoke", store}, flags...)...)
		if status != 0 || strings.TrimSpace(out) != want {
			t.Errorf("revoke %q: status %d, %q %s; want %q", flags, status, out, stderr, want)
		}
	}
	expect := func(status int, session, token string) {
		t.Helper()
		if r := ping(t, s.url, session, token); r.status != status {
			t.Errorf("ping = %d, want %d", r.status, status)
		}
	}
	revoke("revoked 0", "--all", "--before=1h")
	expect(http.StatusOK, ann1, annToken)
	revoke("revoked 2", "--user=ann")
	expect(http.StatusNotFound, ann1, annToken)
	expect(http.StatusNotFound, ann2, annToken)
	expect(http.StatusOK, bob, bobToken)
	revoke("revoked 1", "--all")
	expect(http.StatusNotFound, bob, bobToken)
	ref, _, _ := strings.Cut(bob, ".")
	revoke("revoked 0", ref)
	if _, stderr, status := coatcheck(t, "sessions", "revoke", "0000000000000000000000000020", store); status != 1 || !strings.Contains(stderr, "never issued") {
		t.Errorf("revoking what never was: status %d, %q", status, stderr)
	}
}

func TestWatchReportsWhatHappens(t *testing.T) {
	s, store := serveTokens(t)
	w := watch(t, store)
	eventually(t, "the watch reports", func() bool {
		ref, _, _ := strings.Cut(open(t, s.url, annToken), ".")
		return strings.Contains(w.String(), ref)
	})
	id := open(t, s.url, annToken)
	ref, _, _ := strings.Cut(id, ".")
	if r := send(t, http.MethodDelete, s.url, "", map[string]string{"Mcp-Session-Id": id, "Authorization": "Bearer " + annToken}); r.status != http.StatusNoContent {
		t.Fatalf("DELETE: %d %s", r.status, r.body)
	}
	eventually(t, "the end is reported", func() bool {
		for line := range strings.Lines(w.String()) {
			if strings.Contains(line, ref) && strings.Contains(line, `"deleted"`) && strings.Contains(line, `"logout"`) {
				return true
			}
		}
		return false
	})
}

func TestDoctorSaysWhatIsWrong(t *testing.T) {
	s, store := serveTokens(t)
	open(t, s.url, annToken)
	found := map[string]string{}
	for _, f := range objects(t, "doctor", store) {
		found[f["check"].(string)] = f["result"].(string)
	}
	for _, check := range []string{"file", "open", "read", "write", "clock", "records", "sweep"} {
		if found[check] != "ok" {
			t.Errorf("%s: %q, want ok (all: %v)", check, found[check], found)
		}
	}
	if found["policy"] != "warning" {
		t.Errorf("policy: %q, want a warning that the tokens are static", found["policy"])
	}
	mended := objects(t, "doctor", store, "--idle-timeout=59m", "--auth=tokens:x", "--audit=x")
	if f := mended[len(mended)-1]; f["check"] != "policy" || !strings.Contains(f["detail"].(string), "14.2.4") {
		t.Errorf("the last is that encryption is missing: %v", mended)
	}
	path := strings.TrimPrefix(store, "--store=sqlite:")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if f := objects(t, "doctor", store)[0]; f["result"] != "warning" || !strings.Contains(f["hint"].(string), "chmod 600") {
		t.Errorf("a file that others can read: %v", f)
	}
	out, stderr, status := coatcheck(t, "doctor", store+".absent")
	if status != 1 || !strings.Contains(out, "absent") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("no file: status %d, %q, %q", status, out, stderr)
	}
}
