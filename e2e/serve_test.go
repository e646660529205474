package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

func TestSIGTERMLetsRunningCallsEnd(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, t.TempDir())
			p := c.peer(t)
			if err := p.connect(s.url, ""); err != nil {
				t.Fatal(err)
			}
			if status, body := s.get("/readyz"); status != http.StatusOK {
				t.Errorf("/readyz before: %d %s", status, body)
			}
			type outcome struct {
				result result
				err    error
			}
			done := make(chan outcome, 1)
			go func() {
				r, err := p.call("countdown", map[string]any{"seconds": 2})
				done <- outcome{r, err}
			}()
			eventually(t, "the call runs", func() bool { return p.seen().count(named("progress")) > 0 })
			s.terminate()
			eventually(t, "/readyz says that it drains", func() bool {
				status, body := s.get("/readyz")
				return status == http.StatusServiceUnavailable && strings.TrimSpace(body) == "draining"
			})
			if o := <-done; o.err != nil || o.result.Structured["seconds"] != 2.0 {
				t.Errorf("the running call: %+v, %v", o.result, o.err)
			}
			if status := s.wait(); status != 0 {
				t.Errorf("exit status %d, want 0: %s", status, s.out.String())
			}
		})
	}
}

func TestSessionsSurviveADrain(t *testing.T) {
	s := serve(t, t.TempDir())
	id := open(t, s.url, "")
	s.terminate()
	if status := s.wait(); status != 0 {
		t.Fatalf("exit status %d: %s", status, s.out.String())
	}
	s = s.restart()
	if r := ping(t, s.url, id, ""); r.status != http.StatusOK {
		t.Errorf("ping after the drain: %d %s", r.status, r.body)
	}
}

func TestWrongUserAndUnknownSessionLookAlike(t *testing.T) {
	s, _ := serveTokens(t)
	id := open(t, s.url, annToken)
	other := open(t, s.url, annToken)
	if r := send(t, http.MethodDelete, s.url, "", map[string]string{"Mcp-Session-Id": other, "Authorization": "Bearer " + annToken}); r.status != http.StatusNoContent {
		t.Fatalf("DELETE: %d", r.status)
	}
	ref, secret, _ := strings.Cut(id, ".")
	otherRef, _, _ := strings.Cut(other, ".")
	want := ping(t, s.url, otherRef+"."+secret, bobToken)
	if want.status != http.StatusNotFound {
		t.Fatalf("unknown: %d %s", want.status, want.body)
	}
	flipped := strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, secret[:4]) + secret[4:]
	for name, r := range map[string]reply{
		"somebody else's":        ping(t, s.url, id, bobToken),
		"ended":                  ping(t, s.url, other, annToken),
		"with another secret":    ping(t, s.url, ref+"."+flipped, annToken),
		"another's and a secret": ping(t, s.url, ref+"."+flipped, bobToken),
	} {
		if r.status != want.status || r.body != want.body {
			t.Errorf("%s: %d %q, want as unknown: %d %q", name, r.status, r.body, want.status, want.body)
		}
	}
	for _, malformed := range []string{"x", ref, ref + ".", "." + secret, id + "x", strings.Repeat("a", 4000)} {
		if r := ping(t, s.url, malformed, annToken); r.status != http.StatusNotFound && r.status != http.StatusBadRequest {
			t.Errorf("malformed id of %d characters: %d, want 404 or 400", len(malformed), r.status)
		}
	}
	if r := ping(t, s.url, id, annToken); r.status != http.StatusOK {
		t.Errorf("its owner: %d %s", r.status, r.body)
	}
	if r := ping(t, s.url, id, ""); r.status != http.StatusUnauthorized || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("nobody: %d %q", r.status, r.header.Get("WWW-Authenticate"))
	}
}

func TestBasketsOpenOnlyForTheirMaker(t *testing.T) {
	s, _ := serveTokens(t)
	ann, bob := newGo(t, "2026-07-28"), newGo(t, "2025-11-25")
	if err := ann.connect(s.url, annToken); err != nil {
		t.Fatal(err)
	}
	if err := bob.connect(s.url, bobToken); err != nil {
		t.Fatal(err)
	}
	basket := ask(t, ann, "create_basket", map[string]any{}).Structured
	ask(t, ann, "add_item", map[string]any{"item": "hat", "basket_id": basket["basket_id"]})
	stolen, err := bob.call("view_basket", map[string]any{"basket_id": basket["basket_id"]})
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := bob.call("view_basket", map[string]any{"basket_id": "nonsense"})
	if err != nil {
		t.Fatal(err)
	}
	if !stolen.IsError || !strings.Contains(stolen.text(), "create_basket") || stolen.text() != unknown.text() {
		t.Errorf("bob is told %q, and of an unknown one %q", stolen.text(), unknown.text())
	}
	if who := ask(t, ann, "whoami", map[string]any{}).Structured["user"]; who != "ann" {
		t.Errorf("whoami says %v", who)
	}
}

func TestMetricsHaveTheGuidesNames(t *testing.T) {
	s := serve(t, t.TempDir())
	status, before := s.get("/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d", status)
	}
	for _, name := range []string{
		"sessions_created_total", "sessions_destroyed_total", "session_cache_hits_total", "session_cache_misses_total",
		"session_duration_seconds", "session_size_bytes",
	} {
		if !strings.Contains(before, "\n# TYPE "+name+" ") {
			t.Errorf("no %s", name)
		}
	}
	id := open(t, s.url, "")
	ping(t, s.url, id, "")
	send(t, http.MethodDelete, s.url, "", map[string]string{"Mcp-Session-Id": id})
	_, after := s.get("/metrics")
	for _, want := range []string{
		`sessions_created_total{kind="session"} 1`,
		`sessions_destroyed_total{kind="session",reason="logout"} 1`,
		`session_duration_seconds_count{kind="session"} 1`,
	} {
		if !strings.Contains(after, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(after, id) {
		t.Error("the metrics show a session id")
	}
}

func TestDefaultStoreIsForItsOwnerOnly(t *testing.T) {
	t.Chdir(t.TempDir())
	s := start(t, []string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"})
	id := open(t, s.url, "")
	for path, want := range map[string]fs.FileMode{"coatcheck-data": 0o700 | fs.ModeDir, "coatcheck-data/coatcheck.db": 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	s.kill()
	s = start(t, []string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"})
	if r := ping(t, s.url, id, ""); r.status != http.StatusOK {
		t.Errorf("ping after kill -9: %d %s", r.status, r.body)
	}
}

func TestMemoryStoreServesAndForgets(t *testing.T) {
	for name, how := range map[string]struct{ flag, variable string }{
		"by flag": {flag: "--store=memory:"}, "by the guide's variable": {variable: "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}
			if how.flag != "" {
				args = append(args, how.flag)
			}
			var env []string
			if how.variable != "" {
				env = append(env, "SESSION_STORE="+how.variable)
			}
			s := startWith(t, args, env)
			id := open(t, s.url, "")
			if r := ping(t, s.url, id, ""); r.status != http.StatusOK {
				t.Errorf("ping: %d", r.status)
			}
			s.kill()
			s = startWith(t, s.again(), env)
			if r := ping(t, s.url, id, ""); r.status != http.StatusNotFound {
				t.Errorf("ping after kill -9: %d, want 404", r.status)
			}
		})
	}
}

func TestForeignHostsAndOriginsAreRefused(t *testing.T) {
	s := serve(t, t.TempDir(), "--allowed-origin=https://app.example", "--allowed-host=mcp.example")
	for origin, want := range map[string]int{"https://app.example": 200, "https://evil.example": 403, "null": 403} {
		if r := send(t, http.MethodPost, s.url, initialize, map[string]string{"Origin": origin}); r.status != want {
			t.Errorf("Origin %s: %d, want %d", origin, r.status, want)
		}
	}
	for host, want := range map[string]int{"mcp.example": 200, "localhost": 200, "evil.example": 403} {
		client := &http.Client{Transport: &hosted{host}}
		if r := sendWith(t, client, http.MethodPost, s.url, initialize, nil); r.status != want {
			t.Errorf("Host %s: %d, want %d", host, r.status, want)
		}
	}
}

// hosted asks under a name.
type hosted struct{ name string }

func (h *hosted) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = h.name
	return http.DefaultTransport.RoundTrip(r)
}

func TestTLS(t *testing.T) {
	cert, key, roots := certificate(t)
	s := serve(t, t.TempDir(), "--tls-cert="+cert, "--tls-key="+key)
	if !strings.HasPrefix(s.url, "https://") {
		t.Fatalf("serves at %s", s.url)
	}
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		client := &http.Client{Transport: noted.Transport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2})}
		defer client.CloseIdleConnections()
		r := sendWith(t, client, http.MethodPost, s.url, initialize, nil)
		if r.status != http.StatusOK || r.proto != name || !strings.Contains(r.body, "coatcheck-sample") {
			t.Errorf("initialize over TLS and %s: %d over %s: %s", name, r.status, r.proto, r.body)
		}
	}
}

func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	roots = x509.NewCertPool()
	roots.AddCert(cert)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER), roots
}

func TestRandomIDsGrowNothing(t *testing.T) {
	const requests, workers = 10_000, 8
	s := serve(t, t.TempDir())
	id := open(t, s.url, "")
	ref, secret, _ := strings.Cut(id, ".")
	ping(t, s.url, id, "")
	before := goroutines(t, s)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := range requests / workers {
				var raw [17]byte
				if _, err := rand.Read(raw[:]); err != nil {
					t.Error(err)
					return
				}
				random, err := state.RefFromBytes(raw[:])
				if err != nil {
					t.Error(err)
					return
				}
				presented := random.String() + "." + secret
				if (n+w)%4 == 0 { // a known session with a wrong secret
					presented = ref + "." + strings.Repeat("A", len(secret))
				}
				r, err := try(t.Context(), http.DefaultClient, http.MethodPost, s.url, `{"jsonrpc":"2.0","id":7,"method":"ping"}`, sessionHeaders(presented, ""))
				if err != nil || r.status != http.StatusNotFound {
					t.Errorf("a random id: %d, %v", r.status, err)
					return
				}
			}
		})
	}
	wg.Wait()
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "as many goroutines as before", func() bool { return goroutines(t, s) <= before+workers })
	if _, text := s.get("/metrics"); !strings.Contains(text, `sessions_created_total{kind="session"} 1`+"\n") {
		t.Error("sessions were created")
	}
	if r := ping(t, s.url, id, ""); r.status != http.StatusOK {
		t.Errorf("the session itself: %d", r.status)
	}
}

func goroutines(t *testing.T, s *server) int {
	t.Helper()
	_, text := s.get("/metrics")
	_, rest, _ := strings.Cut(text, "\ngo_goroutines ")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("go_goroutines: %v", err)
	}
	return n
}
