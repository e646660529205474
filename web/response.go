package web

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// A notice is what a client is told about its session.
type notice struct {
	carrier carrier
	id      session.ID    // the one it has from now on; zero: as before
	life    time.Duration // how long that may live
	gone    bool          // it has been signed out
}

// give has the client told of the id of a session.
func (n *notice) give(by carrier, s *session.Session) {
	n.carrier, n.id = by, s.ID
	n.life = s.Remaining + max(0, s.AbsoluteDeadline.Sub(s.IdleDeadline))
}

// response holds the notice for the client back until the first byte of the
// answer. It has all methods that handlers look for on a ResponseWriter, since
// those that it had not would be lost; the rest is found through Unwrap.
type response struct {
	http.ResponseWriter
	tell func(http.Header, notice)

	mu      sync.Mutex // guards the rest
	begun   bool
	private bool // the answer is made for this client alone
	notice  notice
}

// begin writes the notice into the header, once.
func (w *response) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun {
		return
	}
	w.begun = true
	if w.private {
		noStore(w.Header())
	}
	w.tell(w.Header(), w.notice)
}

// before runs do, which may set the notice, unless the answer has begun: then
// it is ErrBegun. The answer does not begin meanwhile.
func (w *response) before(do func(*notice) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun {
		return ErrBegun
	}
	return do(&w.notice)
}

// keepPrivate says that the answer depends on the session.
func (w *response) keepPrivate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.private = true
}

// WriteHeader implements http.ResponseWriter. An informational status is not
// the answer yet.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 199 || status == http.StatusSwitchingProtocols {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) {
	w.begin()
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom implements io.ReaderFrom: files go out as the ResponseWriter below
// sends them.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return io.Copy(w.ResponseWriter, r)
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *response) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begun = true // there is no header any more
	}
	return conn, rw, err
}

// Unwrap lets http.ResponseController find the rest.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// tell writes a notice into the header of an answer.
func (s *Sessions) tell(h http.Header, n notice) {
	clear := s.clear
	if !n.id.IsZero() {
		clear = s.tidy
	}
	if n.gone && clear != "" {
		h.Set("Clear-Site-Data", clear)
	}
	switch {
	case n.carrier == byHeader && !n.id.IsZero():
		h.Set(s.opts.Header, n.id.Reveal())
	case n.carrier == byHeader:
	case !n.id.IsZero():
		h.Add("Set-Cookie", s.cookie.holding(n.id, n.life).String())
	case n.gone:
		h.Add("Set-Cookie", s.cookie.removal().String())
	}
}

// noStore keeps the answer out of caches, and leaves it to itself whether
// those between may change it.
func noStore(h http.Header) {
	value := "no-store"
	for directive := range strings.SplitSeq(strings.Join(h["Cache-Control"], ","), ",") {
		if strings.EqualFold(trimBlanks(directive), "no-transform") {
			value = "no-store, no-transform"
		}
	}
	h.Set("Cache-Control", value)
}
