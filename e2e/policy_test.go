package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPolicyFlagsApply(t *testing.T) {
	s, store := serveTokens(t, "--max-sessions-per-user=1", "--session-duration=10h", "--idle-timeout=3h", "--id-bytes=16")
	first := open(t, s.url, annToken)
	second := open(t, s.url, annToken)
	if r := ping(t, s.url, first, annToken); r.status != http.StatusNotFound {
		t.Errorf("the first session of a user who may have one: %d, want 404", r.status)
	}
	if _, secret, _ := strings.Cut(second, "."); len(secret) != 22 {
		t.Errorf("a secret of %d characters, want 22 for 16 bytes", len(secret))
	}
	o := objects(t, "sessions", "list", store)[0]
	created, err1 := time.Parse(time.RFC3339, o["created_at"].(string))
	expires, err2 := time.Parse(time.RFC3339, o["expires_at"].(string))
	if left := expires.Sub(created); err1 != nil || err2 != nil || left < 3*time.Hour || left > 3*time.Hour+10*time.Minute {
		t.Errorf("expires %v after its creation (%v, %v), want three hours and the touch interval", left, err1, err2)
	}
	ref, _, _ := strings.Cut(first, ".")
	if e := objects(t, "sessions", "explain", ref, store)[0]; e["reason"] != "evicted" {
		t.Errorf("explained %v", e)
	}

	refusing, _ := serveTokens(t, "--max-sessions-per-user=1", "--on-limit=refuse")
	open(t, refusing.url, annToken)
	r := send(t, http.MethodPost, refusing.url, initialize, map[string]string{"Authorization": "Bearer " + annToken})
	if r.status != http.StatusServiceUnavailable && r.status != http.StatusTooManyRequests {
		t.Errorf("one session too many: %d %s", r.status, r.body)
	}
}

func TestMaxSessionsHoldsForAllUsersTogether(t *testing.T) {
	s, _ := serveTokens(t, "--max-sessions=1")
	open(t, s.url, annToken)
	r := send(t, http.MethodPost, s.url, initialize, map[string]string{"Authorization": "Bearer " + bobToken})
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("one session too many: %d, Retry-After %q", r.status, r.header.Get("Retry-After"))
	}
}

func TestIdleSessionsEndAndAreCleanedUp(t *testing.T) {
	s, store := serveTokens(t, "--idle-timeout=300ms", "--cleanup-interval=50ms")
	id := open(t, s.url, annToken)
	ref, _, _ := strings.Cut(id, ".")
	eventually(t, "the session is swept", func() bool {
		_, text := s.get("/metrics")
		return strings.Contains(text, `sessions_destroyed_total{kind="session",reason="idle"} 1`+"\n")
	})
	if r := ping(t, s.url, id, annToken); r.status != http.StatusNotFound {
		t.Errorf("ping: %d, want 404", r.status)
	}
	if e := objects(t, "sessions", "explain", ref, store)[0]; e["reason"] != "idle" || e["live"] != false {
		t.Errorf("explained %v", e)
	}
}

func TestAddressesComeThroughTrustedProxiesOnly(t *testing.T) {
	const client = "203.0.113.9"
	for _, c := range []struct {
		flags []string
		want  string
	}{{nil, "127.0.0.1"}, {[]string{"--trusted-proxy=127.0.0.1"}, client}, {[]string{"--trusted-proxy=10.0.0.0/8"}, "127.0.0.1"}} {
		s, store := serveTokens(t, c.flags...)
		r := send(t, http.MethodPost, s.url, initialize, map[string]string{"Authorization": "Bearer " + annToken, "X-Forwarded-For": client})
		if r.status != http.StatusOK {
			t.Fatalf("initialize: %d %s", r.status, r.body)
		}
		if got := objects(t, "sessions", "list", store)[0]["address"]; got != c.want {
			t.Errorf("with %q the address is %v, want %s", c.flags, got, c.want)
		}
	}
}

func TestNamespacesAreApart(t *testing.T) {
	s, store := serveTokens(t, "--namespace=blue")
	id := open(t, s.url, annToken)
	ref, _, _ := strings.Cut(id, ".")
	if got := objects(t, "sessions", "list", store); len(got) != 0 {
		t.Errorf("another namespace lists %v", got)
	}
	if got := objects(t, "sessions", "list", store, "--namespace=blue"); len(got) != 1 {
		t.Errorf("its own namespace lists %v", got)
	}
	if _, _, status := coatcheck(t, "sessions", "revoke", ref, store); status != 1 {
		t.Errorf("revoke in another namespace: status %d, want 1", status)
	}
	if r := ping(t, s.url, id, annToken); r.status != http.StatusOK {
		t.Errorf("ping: %d", r.status)
	}
}

func TestAdminTokenGuardsMetrics(t *testing.T) {
	const token = "not-to-be-guessed-by-anybody"
	dir := t.TempDir()
	file := filepath.Join(dir, "admin-token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir, "--admin-token-file="+file)
	if status, _ := s.get("/metrics"); status != http.StatusUnauthorized {
		t.Errorf("/metrics without the token: %d", status)
	}
	if status, _ := s.get("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz without the token: %d", status)
	}
	r := send(t, http.MethodGet, s.admin+"/metrics", "", map[string]string{"Authorization": "Bearer " + token})
	if r.status != http.StatusOK {
		t.Errorf("/metrics with the token: %d", r.status)
	}
}

func TestDrainTimeoutCutsCallsOff(t *testing.T) {
	s := serve(t, t.TempDir(), "--drain-timeout=200ms")
	p := newGo(t, "2025-11-25")
	if err := p.connect(s.url, ""); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = p.call("countdown", map[string]any{"seconds": 600}) }() // it will be cut off
	eventually(t, "the call runs", func() bool { return p.seen().count(named("progress")) > 0 })
	s.terminate()
	if status := s.wait(); status != 0 {
		t.Errorf("exit status %d: %s", status, s.out.String())
	}
}
