package testkit

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// minSecret is how long a secret is at least. What is shorter may be a word
// that anybody writes.
const minSecret = 16

// sessionID is how the id of a session or a basket looks: a ref, which is
// public, and the secret.
var sessionID = regexp.MustCompile(`[0-9a-v]{28}\.([A-Za-z0-9_-]{22,86})`)

// Secrets are those that a run of tests has seen clients hold. Nothing that is
// written for people may have one. The zero Secrets is ready to use, by
// several goroutines at once.
type Secrets struct {
	mu     sync.Mutex          // guards byTail
	byTail map[string][]string // by their last minSecret bytes
}

// Note notes a secret, such as a bearer token.
func (s *Secrets) Note(secret string) {
	if len(secret) < minSecret {
		return
	}
	tail := secret[len(secret)-minSecret:]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.byTail[tail] {
		if known == secret {
			return
		}
	}
	if s.byTail == nil {
		s.byTail = map[string][]string{}
	}
	s.byTail[tail] = append(s.byTail[tail], secret)
}

// NoteIDs notes the secret of each id in what a client was told.
func (s *Secrets) NoteIDs(text string) {
	for _, id := range sessionID.FindAllStringSubmatch(text, -1) {
		s.Note(id[1])
	}
}

// In counts the secrets in the text, each time one is there.
func (s *Secrets) In(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := 0
	for end := minSecret; end <= len(text); end++ {
		for _, secret := range s.byTail[text[end-minSecret:end]] {
			if strings.HasSuffix(text[:end], secret) {
				found++
			}
		}
	}
	return found
}

// Check fails the test if the text has a secret. It names the place, not the
// secret.
func (s *Secrets) Check(t testing.TB, place, text string) {
	t.Helper()
	if n := s.In(text); n > 0 {
		t.Errorf("%s shows a session id or a token, in %d places", place, n)
	}
}

// Transport notes what passes: the tokens in requests, the ids in the headers
// of answers.
func (s *Secrets) Transport(next http.RoundTripper) http.RoundTripper {
	return &noting{next: next, secrets: s}
}

type noting struct {
	next    http.RoundTripper
	secrets *Secrets
}

// RoundTrip implements [http.RoundTripper].
func (n *noting) RoundTrip(r *http.Request) (*http.Response, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		n.secrets.Note(token)
	}
	resp, err := n.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	n.secrets.noteHeader(resp.Header)
	return resp, nil
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] calls.
func (n *noting) CloseIdleConnections() {
	if c, ok := n.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Handler notes the ids in the headers of what next answers: for a server that
// is in the test's own process.
func (s *Secrets) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.noteHeader(w.Header())
		next.ServeHTTP(w, r)
	})
}

func (s *Secrets) noteHeader(h http.Header) {
	for _, values := range h {
		for _, v := range values {
			s.NoteIDs(v)
		}
	}
}

// Log returns what a logger of the test may write to. It is searched when the
// test has ended, and what the test began after this call.
func (s *Secrets) Log(t testing.TB) io.Writer {
	t.Helper()
	out := &lockedBuffer{}
	t.Cleanup(func() { s.Check(t, "the log", out.String()) })
	return out
}

// Run runs the tests of a package, for programs that log to the default logger,
// and returns a status that is not zero if a test failed or that log has a
// secret.
func (s *Secrets) Run(m interface{ Run() int }) int {
	out := &lockedBuffer{}
	log.SetOutput(io.MultiWriter(os.Stderr, out))
	defer log.SetOutput(os.Stderr)
	defer slog.SetLogLoggerLevel(slog.SetLogLoggerLevel(slog.LevelDebug))
	status := m.Run()
	if n := s.In(out.String()); n > 0 {
		fmt.Fprintf(os.Stderr, "the default log shows a session id or a token, in %d places\n", n)
		return 1
	}
	return status
}

type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
