package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What operators see and do through a server is what they see and do with its
// store, and it works for a store that only the server can open.
func TestOperatorsAskAServerAsTheyAskAStore(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "admin-token")
	if err := os.WriteFile(token, []byte("YSB0b2tlbiBvZiB0aGUgYWRtaW4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, store := serveTokens(t, "--admin-token-file="+token)
	server := []string{"--admin=" + s.admin, "--admin-token-file=" + token}
	id := open(t, s.url, annToken)
	ref, secret, _ := strings.Cut(id, ".")
	open(t, s.url, bobToken)
	for _, args := range [][]string{
		{"sessions", "list"}, {"sessions", "list", "--json"}, {"sessions", "list", "--json", "--user=ann", "--max=1"},
		{"sessions", "list", "--address=127.0.0.0/8", "--created-after=1h", "--state=created"}, {"sessions", "list", "--user="},
		{"sessions", "show", ref}, {"sessions", "show", ref, "--data"}, {"sessions", "show", ref, "--data", "--json"},
		{"sessions", "explain", ref}, {"sessions", "explain", ref, "--json"},
		{"sessions", "show", "0000000000000000000000000020"}, {"sessions", "explain", "0000000000000000000000000020"},
		{"sessions", "revoke", "0000000000000000000000000020"}, {"sessions", "revoke", "--all", "--before=1h"},
	} {
		wantOut, wantErr, wantStatus := coatcheck(t, append(append([]string{}, args...), store)...)
		out, stderr, status := coatcheck(t, append(append([]string{}, args...), server...)...)
		if out != wantOut || stderr != wantErr || status != wantStatus {
			t.Errorf("%q of the server:\n%s%s%d\nof the store:\n%s%s%d", args, out, stderr, status, wantOut, wantErr, wantStatus)
		}
		if strings.Contains(out+stderr, secret) {
			t.Errorf("%q prints the secret", args)
		}
	}
	if _, stderr, status := coatcheck(t, "sessions", "list", "--admin="+s.admin); status != 1 || !strings.Contains(stderr, "token") {
		t.Errorf("without the token: status %d, %s", status, stderr)
	}
	for _, f := range objects(t, append([]string{"doctor"}, server...)...) {
		if f["result"] != "ok" {
			t.Errorf("doctor: %v", f)
		}
	}
}

func TestSessionsInMemoryAreSeenAndEndedThroughTheirServer(t *testing.T) {
	s := serve(t, "", "--store=memory:", "--cache=l1=1MiB", "--cache-staleness=7s")
	server := "--admin=" + s.admin
	changes := watch(t, server)
	id := open(t, s.url, "")
	ref, _, _ := strings.Cut(id, ".")
	if listed := objects(t, "sessions", "list", server); len(listed) != 1 || listed[0]["ref"] != ref {
		t.Fatalf("listed %v", listed)
	}
	stale := false
	for _, f := range objects(t, "doctor", server) {
		detail, _ := f["detail"].(string)
		stale = stale || f["check"] == "reads" && strings.Contains(detail, "7s")
	}
	if !stale {
		t.Error("doctor does not say how stale reads may be")
	}
	// The watch may have begun after the session did.
	eventually(t, "the watch reports", func() bool {
		other, _, _ := strings.Cut(open(t, s.url, ""), ".")
		return strings.Contains(changes.String(), other)
	})
	if out, stderr, status := coatcheck(t, "sessions", "revoke", ref, server); status != 0 || out != "revoked 1\n" {
		t.Fatalf("revoke: status %d, %q %s", status, out, stderr)
	}
	if r := ping(t, s.url, id, ""); r.status != http.StatusNotFound {
		t.Errorf("the revoked session: %d", r.status)
	}
	eventually(t, "the end is reported", func() bool {
		for line := range strings.Lines(changes.String()) {
			if strings.Contains(line, ref) && strings.Contains(line, `"revoked"`) && strings.Contains(line, `"cli:`) {
				return true
			}
		}
		return false
	})
	if got := s.metric(`sessions_destroyed_total{kind="session",reason="revoked"}`); got != 1 {
		t.Errorf("%v revocations counted", got)
	}
}

// A drain does not wait for who watches.
func TestADrainEndsWatches(t *testing.T) {
	s := serve(t, "", "--store=memory:", "--drain-timeout=1h")
	w := launch(t, "sessions", "watch", "--json", "--admin="+s.admin)
	eventually(t, "the watch reports", func() bool {
		ref, _, _ := strings.Cut(open(t, s.url, ""), ".")
		return strings.Contains(w.log.String(), ref)
	})
	s.terminate()
	if status := s.wait(); status != 0 {
		t.Errorf("the server ends with %d", status)
	}
	select {
	case <-w.exited:
	case <-time.After(patience):
		t.Fatal("the watch goes on")
	}
	if !strings.Contains(w.log.String(), "the server has ended") {
		t.Errorf("the watch said %s", w.log.String())
	}
}
