package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/coatcheck-mcp/coatcheck/auth"
)

// rotating is an issuer whose keys change, and its verifier.
type rotating struct {
	*jwksServer
	t     *testing.T
	clock *clock
	keys  *auth.Keys
	jwt   *auth.JWT
}

func newRotating(t *testing.T, first signer) *rotating {
	r := &rotating{jwksServer: newJWKSServer(t, document(t, first.public())), t: t, clock: &clock{now: time.Now()}}
	r.keys = openKeys(t, r.URL, auth.KeysOptions{Clock: r.clock.Now})
	r.jwt = newJWT(t, auth.JWTOptions{Issuers: []auth.Issuer{{Name: acme, Keys: r.keys}}})
	return r
}

func (r *rotating) verify(s signer) error {
	r.t.Helper()
	_, err := r.jwt.Verify(r.t.Context(), s.sign(r.t, claimsOf(acme, "ann")), nil)
	return err
}

func TestNewKeysCountAtOnceAndWithdrawnOnesStop(t *testing.T) {
	old, next := newSigner(t, "2025", jose.ES256), newSigner(t, "2026", jose.ES256)
	r := newRotating(t, old)
	r.clock.Advance(time.Minute)
	r.publish(document(t, old.public(), next.public()))
	if err := r.verify(next); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if err := r.verify(old); err != nil {
		t.Errorf("the old key: %v", err)
	}
	r.publish(document(t, next.public()))
	if err := r.keys.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.verify(old); err == nil {
		t.Error("a withdrawn key still counts")
	}
}

func TestUnknownKeyIDsCauseAtMostOneReadPerInterval(t *testing.T) {
	known := newSigner(t, "k1", jose.EdDSA)
	r := newRotating(t, known)
	r.clock.Advance(time.Minute)
	flood := func() {
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				s := known
				s.kid = fmt.Sprintf("made-up-%d", i)
				if r.verify(s) == nil {
					t.Error("a made-up key id was accepted")
				}
			})
		}
		wg.Wait()
	}
	before := r.count()
	flood()
	flood()
	if n := r.count() - before; n != 1 {
		t.Errorf("%d reads in one interval", n)
	}
	r.clock.Advance(time.Minute)
	flood()
	if n := r.count() - before; n != 2 {
		t.Errorf("%d reads in two intervals", n)
	}
	if err := r.verify(known); err != nil {
		t.Errorf("the known key: %v", err)
	}
}

func TestKeysStayInUseWhileTheyCannotBeRead(t *testing.T) {
	s := newSigner(t, "k1", jose.EdDSA)
	r := newRotating(t, s)
	for name, answer := range map[string]http.HandlerFunc{
		"error":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"no keys": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) },
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.Repeat(" ", auth.MaxKeySetBytes+2))
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		r.respond(answer)
		if err := r.keys.Refresh(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := r.verify(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Not for ever: a key that was withdrawn meanwhile would count as long.
	r.clock.Advance(24*time.Hour + time.Second)
	var refused *auth.RefusedError
	if err := r.verify(s); !errors.Is(err, auth.ErrKeysUnavailable) || errors.As(err, &refused) {
		t.Errorf("after a day: %v", err)
	}
	r.clock.Advance(time.Minute)
	r.publish(document(t, s.public()))
	if err := r.verify(s); err != nil {
		t.Errorf("readable again: %v", err)
	}
}

func TestKeysOfAFileFollowTheFile(t *testing.T) {
	old, next := newSigner(t, "2025", jose.ES256), newSigner(t, "2026", jose.ES256)
	path := filepath.Join(t.TempDir(), "jwks.json")
	write := func(text []byte) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(document(t, old.public()))
	keys := openKeys(t, path, auth.KeysOptions{Refresh: time.Millisecond})
	j := newJWT(t, auth.JWTOptions{Issuers: []auth.Issuer{{Name: acme, Keys: keys}}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- keys.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	write(document(t, next.public()))
	accepted := func(s signer) bool {
		_, err := j.Verify(t.Context(), s.sign(t, claimsOf(acme, "ann")), nil)
		return err == nil
	}
	for deadline := time.Now().Add(time.Minute); !accepted(next) || accepted(old); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the file's new keys do not count")
		}
	}
}

func TestKeySetsThatAreRefused(t *testing.T) {
	s := newSigner(t, "k1", jose.ES256)
	private, err := json.Marshal(jose.JSONWebKey{Key: s.key, KeyID: "k1"})
	if err != nil {
		t.Fatal(err)
	}
	forEncryption := s.public()
	forEncryption.Use = "enc"
	many := make([]jose.JSONWebKey, auth.MaxKeys+1)
	for i := range many {
		many[i] = s.public()
	}
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"empty":          {"", "not a JWKS"},
		"no keys":        {`{}`, "no key that verifies"},
		"private":        {`{"keys":[` + string(private) + `]}`, "key 1 is private"},
		"symmetric":      {`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, "key 1 is private or symmetric"},
		"for encryption": {string(document(t, forEncryption)), "no key that verifies"},
		"short RSA":      {`{"keys":[{"kty":"RSA","n":"` + strings.Repeat("x", 172) + `","e":"AQAB"}]}`, "no key that verifies"},
		"unknown type":   {`{"keys":[{"kty":"XYZ"}]}`, "no key that verifies"},
		"too many":       {string(document(t, many...)), "more than 256 keys"},
		"too large":      {strings.Repeat(" ", auth.MaxKeySetBytes+1), "more than"},
	} {
		path := filepath.Join(t.TempDir(), "jwks.json")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := auth.OpenKeys(t.Context(), path, auth.KeysOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: the error repeats the key", name)
		}
	}
	// What is not understood does not spoil the rest.
	path := filepath.Join(t.TempDir(), "jwks.json")
	text := strings.Replace(string(document(t, s.public())), `[`, `[{"kty":"XYZ"},{"kty":"EC","crv":"P-999"},7,`, 1)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	openKeys(t, path, auth.KeysOptions{})
}

func TestKeysComeOnlyFromWhereNobodyElseCanChangeThem(t *testing.T) {
	s := newJWKSServer(t, document(t, newSigner(t, "k1", jose.ES256).public()))
	moved := newJWKSServer(t, nil)
	moved.respond(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://id.example/jwks?secret=hunter2", http.StatusFound)
	})
	loop := newJWKSServer(t, nil)
	loop.respond(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, loop.URL, http.StatusFound) })
	for _, source := range []string{
		"http://id.example/jwks", "ftp://id.example/jwks", "https://ann:secret@id.example/jwks", "https://", "https://a b/",
		moved.URL, loop.URL, filepath.Join(t.TempDir(), "absent"), t.TempDir(),
	} {
		_, err := auth.OpenKeys(t.Context(), source, auth.KeysOptions{})
		if err == nil {
			t.Errorf("%s: accepted", source)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error repeats a secret: %v", err)
		}
	}
	openKeys(t, strings.Replace(s.URL, "127.0.0.1", "localhost", 1), auth.KeysOptions{})
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func FuzzKeySet(f *testing.F) {
	f.Add(document(f, newSigner(f, "k1", jose.ES256).public(), newSigner(f, "k2", jose.EdDSA).public()))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"},null,7]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(dir, "jwks.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := auth.OpenKeys(t.Context(), path, auth.KeysOptions{MinRefetch: time.Hour})
		if err != nil {
			return
		}
		// Whatever the set is, it does not verify what nobody signed.
		j := newJWT(t, auth.JWTOptions{Issuers: []auth.Issuer{{Name: acme, Keys: keys}}})
		if _, err := j.Verify(t.Context(), token(map[string]any{"alg": "ES256"}, claimsOf(acme, "ann"), make([]byte, 64)), nil); err == nil {
			t.Error("accepted a token that nobody signed")
		}
	})
}
