package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	acme     = "https://id.acme.example"
	globex   = "https://id.globex.example"
	audience = "https://mcp.example/mcp"
)

// A signer is a key of an issuer.
type signer struct {
	kid string
	alg jose.SignatureAlgorithm
	key crypto.Signer
}

func newSigner(t testing.TB, kid string, alg jose.SignatureAlgorithm) signer {
	t.Helper()
	s := signer{kid: kid, alg: alg}
	var err error
	switch alg {
	case jose.ES256:
		s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		s.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.EdDSA:
		_, s.key, err = ed25519.GenerateKey(rand.Reader)
	default:
		s.key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s signer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.key.Public(), KeyID: s.kid, Algorithm: string(s.alg), Use: "sig"}
}

// sign makes a token of what the claims marshal to.
func (s signer) sign(t testing.TB, claims any) string {
	t.Helper()
	return s.signAs(t, claims, nil)
}

func (s signer) signAs(t testing.TB, claims any, headers map[jose.HeaderKey]any) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("at+jwt")
	for k, v := range headers {
		opts = opts.WithHeader(k, v)
	}
	var key any = jose.JSONWebKey{Key: s.key, KeyID: s.kid}
	if s.kid == "" {
		key = s.key
	}
	made, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(made).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func document(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// claimsOf returns the claims of a token that is accepted.
func claimsOf(issuer, subject string) map[string]any {
	return map[string]any{
		"iss": issuer, "sub": subject, "aud": audience,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
}

// with returns the claims with one more, or without it if value is nil.
func with(claims map[string]any, name string, value any) map[string]any {
	out := map[string]any{}
	for k, v := range claims {
		out[k] = v
	}
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

// A jwksServer publishes what a test puts in.
type jwksServer struct {
	*httptest.Server
	mu      sync.Mutex // guards what follows
	answer  http.HandlerFunc
	fetches int
}

func newJWKSServer(t testing.TB, text []byte) *jwksServer {
	t.Helper()
	s := &jwksServer{}
	s.publish(text)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.fetches++
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *jwksServer) respond(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *jwksServer) publish(text []byte) {
	s.respond(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
}

func (s *jwksServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

// A clock stands still until it is advanced.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func openKeys(t testing.TB, source string, opts auth.KeysOptions) *auth.Keys {
	t.Helper()
	if opts.Client == nil {
		transport := &http.Transport{DisableKeepAlives: true}
		opts.Client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	}
	keys, err := auth.OpenKeys(context.Background(), source, opts)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newJWT(t testing.TB, opts auth.JWTOptions) *auth.JWT {
	t.Helper()
	if opts.Audiences == nil {
		opts.Audiences = []string{audience}
	}
	j, err := auth.NewJWT(opts)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
