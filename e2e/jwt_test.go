package e2e

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// An issuer is an authorization server, as far as a resource server sees one.
type issuer struct {
	*httptest.Server
	name string

	mu   sync.Mutex // guards keys
	keys []jose.JSONWebKey
}

func newIssuer(t *testing.T, name string) *issuer {
	t.Helper()
	i := &issuer{name: name}
	i.rotate(t, "first")
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		var public jose.JSONWebKeySet
		for _, k := range i.keys {
			public.Keys = append(public.Keys, k.Public())
		}
		_ = json.NewEncoder(w).Encode(public)
	}))
	t.Cleanup(i.Close)
	return i
}

// rotate has the issuer sign with a new key, beside which the old ones count.
func (i *issuer) rotate(t *testing.T, kid string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append([]jose.JSONWebKey{{Key: crypto.Signer(key), KeyID: kid, Algorithm: "ES256", Use: "sig"}}, i.keys...)
}

const resource = "https://mcp.example/mcp"

func (i *issuer) token(t *testing.T, subject string, lifetime time.Duration) string {
	t.Helper()
	i.mu.Lock()
	key := i.keys[0]
	i.mu.Unlock()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{
		"iss": i.name, "sub": subject, "aud": resource, "exp": time.Now().Add(lifetime).Unix(), "scope": "mcp",
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// serveJWT serves the users of two issuers, and keeps an audit log.
func serveJWT(t *testing.T, flags ...string) (s *server, acme, globex *issuer, log string) {
	t.Helper()
	acme, globex = newIssuer(t, "https://id.acme.example"), newIssuer(t, "https://id.globex.example")
	dir := t.TempDir()
	log = filepath.Join(dir, "audit.log")
	return serve(t, dir, append([]string{
		"--auth=jwt:" + acme.URL, "--auth-issuer=" + acme.name, "--auth-issuer=" + globex.name + "=" + globex.URL,
		"--auth-audience=" + resource, "--auth-scope=mcp", "--audit=" + log,
	}, flags...)...), acme, globex, log
}

// audited returns the events of a log.
func audited(t *testing.T, path string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	for line := range bytes.Lines(text) {
		var o map[string]any
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("audit log: line %q: %v", line, err)
		}
		all = append(all, o)
	}
	return all
}

func hasEvent(t *testing.T, path string, want map[string]any) bool {
	t.Helper()
	for _, o := range audited(t, path) {
		fits := true
		for k, v := range want {
			fits = fits && o[k] == v
		}
		if fits {
			return true
		}
	}
	return false
}

func TestEqualSubjectsOfTwoIssuersNeverMeet(t *testing.T) {
	s, acme, globex, log := serveJWT(t)
	ann, other := acme.token(t, "ann", time.Hour), globex.token(t, "ann", time.Hour)
	id := open(t, s.url, ann)
	if r := ping(t, s.url, id, ann); r.status != http.StatusOK {
		t.Fatalf("its owner: %d %s", r.status, r.body)
	}
	// A later token of the same user opens the session, too.
	if r := ping(t, s.url, id, acme.token(t, "ann", 2*time.Hour)); r.status != http.StatusOK {
		t.Errorf("its owner, with another token: %d %s", r.status, r.body)
	}
	unknown := ping(t, s.url, strings.Repeat("a", 28)+"."+strings.Repeat("A", 43), other)
	if r := ping(t, s.url, id, other); r.status != http.StatusNotFound || r.body != unknown.body {
		t.Errorf("the other issuer's ann: %d %s, want as unknown: %d %s", r.status, r.body, unknown.status, unknown.body)
	}
	ref, _, _ := strings.Cut(id, ".")
	eventually(t, "the audit log has the mismatch", func() bool {
		return hasEvent(t, log, map[string]any{
			"event": "session.binding_mismatch", "ref": ref, "user": acme.name + " ann", "by": globex.name + " ann",
			"from": "127.0.0.1", "why": "principal", "result": "refused",
		})
	})
	listed := objects(t, "sessions", "list", "--user="+acme.name+" ann", "--store=sqlite:"+filepath.Dir(log)+"/coatcheck.db")
	if len(listed) != 1 || listed[0]["ref"] != ref {
		t.Errorf("listed %v", listed)
	}
}

func TestClientsAreToldWhereToGetAToken(t *testing.T) {
	s, acme, _, log := serveJWT(t)
	base := strings.TrimSuffix(s.url, "/mcp")
	const metadata = `resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"`
	for name, token := range map[string]string{
		"none": "", "expired": acme.token(t, "ann", -time.Hour), "garbage": "garbage",
	} {
		headers := map[string]string{}
		if token != "" {
			headers["Authorization"] = "Bearer " + token
		}
		r := send(t, http.MethodPost, s.url, initialize, headers)
		challenge := r.header.Get("WWW-Authenticate")
		if r.status != http.StatusUnauthorized || !strings.Contains(challenge, metadata) || !strings.Contains(challenge, `scope="mcp"`) {
			t.Errorf("%s: %d %q", name, r.status, challenge)
		}
	}
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"} {
		r := send(t, http.MethodGet, base+path, "", nil)
		var got struct {
			Resource string   `json:"resource"`
			Servers  []string `json:"authorization_servers"`
		}
		if err := json.Unmarshal([]byte(r.body), &got); err != nil || got.Resource != resource || len(got.Servers) != 2 || got.Servers[0] != acme.name {
			t.Errorf("%s: %d %s, %v", path, r.status, r.body, err)
		}
	}
	for _, why := range []string{"missing", "expired", "malformed"} {
		eventually(t, "the audit log has the refusal "+why, func() bool {
			return hasEvent(t, log, map[string]any{"event": "auth.refused", "why": why, "from": "127.0.0.1", "result": "refused"})
		})
	}
	status, metrics := s.get("/metrics")
	if status != http.StatusOK || !strings.Contains(metrics, `auth_refusals_total{reason="expired"} 1`) {
		t.Errorf("/metrics: %d", status)
	}
}

func TestSessionsOutliveTheRotationOfTheIssuersKeys(t *testing.T) {
	s, acme, _, _ := serveJWT(t)
	id := open(t, s.url, acme.token(t, "ann", time.Hour))
	acme.rotate(t, "second")
	// The first read was at the start; another is due once ten seconds have passed.
	eventually(t, "the new key counts", func() bool {
		return ping(t, s.url, id, acme.token(t, "ann", time.Hour)).status == http.StatusOK
	})
}

func TestAuditLogIsRotatedAndHasNoSecrets(t *testing.T) {
	s, acme, _, log := serveJWT(t)
	token := acme.token(t, "ann", time.Hour)
	id := open(t, s.url, token)
	ref, secret, _ := strings.Cut(id, ".")
	created := map[string]any{"event": "session.created", "ref": ref, "user": acme.name + " ann", "from": "127.0.0.1"}
	eventually(t, "the session is in the log", func() bool { return hasEvent(t, log, created) })
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is opened anew", func() bool { _, err := os.Stat(log); return err == nil })
	_, stderr, status := coatcheck(t, "sessions", "revoke", ref, "--store=sqlite:"+filepath.Dir(log)+"/coatcheck.db", "--audit="+log)
	if status != 0 {
		t.Fatalf("revoke: %s", stderr)
	}
	revoked := map[string]any{"event": "session.ended", "ref": ref, "why": "revoked", "user": acme.name + " ann"}
	if !hasEvent(t, log, revoked) {
		t.Errorf("the revocation is not in the log: %v", audited(t, log))
	}
	if r := ping(t, s.url, id, token); r.status != http.StatusNotFound {
		t.Errorf("after the revocation: %d", r.status)
	}
	s.terminate()
	if status := s.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for _, path := range []string{log, log + ".1"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(secret)) || bytes.Contains(text, []byte(token)) {
			t.Errorf("%s has a secret", path)
		}
	}
	if out := s.out.String(); strings.Contains(out, secret) || strings.Contains(out, token) || strings.Contains(out, "ann") {
		t.Error("the server's own log has a secret, or a user")
	}
}

func TestAServerWithoutItsIssuersKeysDoesNotStart(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, stderr, status := coatcheck(t, "serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=memory:",
		"--auth=jwt:"+gone.URL, "--auth-issuer=https://id.example", "--auth-audience=x")
	if status != 1 || !strings.Contains(stderr, gone.URL) {
		t.Errorf("status %d, %s", status, stderr)
	}
}

func TestNewSessionsOfAnAddressAreBounded(t *testing.T) {
	s, _ := serveTokens(t, "--max-new-sessions=1", "--max-sessions-per-user=0")
	// More than a second's worth at once, however slow the machine is: each
	// request takes far less than a second.
	eventually(t, "one is refused", func() bool {
		r := send(t, http.MethodPost, s.url, initialize, map[string]string{"Authorization": "Bearer " + annToken})
		if r.status == http.StatusOK {
			return false
		}
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", r.status, r.body)
		}
		return true
	})
	if status, metrics := s.get("/metrics"); !strings.Contains(metrics, `sessions_refused_total{kind="session",limit="rate"} 1`) {
		t.Errorf("/metrics: %d", status)
	}
}

func TestASessionIsBoundToTheAgentOnRequest(t *testing.T) {
	s, store := serveTokens(t, "--bind-agent", "--on-mismatch=end")
	id := open(t, s.url, annToken)
	headers := sessionHeaders(id, annToken)
	headers["User-Agent"] = "another/1"
	const body = `{"jsonrpc":"2.0","id":7,"method":"ping"}`
	if r := send(t, http.MethodPost, s.url, body, headers); r.status != http.StatusNotFound {
		t.Errorf("another agent: %d %s", r.status, r.body)
	}
	if r := ping(t, s.url, id, annToken); r.status != http.StatusNotFound {
		t.Errorf("the session lives on: %d", r.status)
	}
	ref, _, _ := strings.Cut(id, ".")
	out, _, _ := coatcheck(t, "sessions", "explain", ref, store)
	if !strings.Contains(out, "presented by somebody else") {
		t.Errorf("explained: %s", out)
	}
}
