package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// Options of [Sessions]. The zero value keeps sessions in the strictest cookie.
type Options struct {
	Cookie Cookie
	// Header lets clients carry the id in a header of this name instead, such
	// as "Session-Id". Empty: there is only the cookie.
	Header string
	// HeaderOnly takes no cookies. Header is required then.
	HeaderOnly bool

	// Principal returns who makes the request, or "", where requests carry
	// verified credentials of their own beside the session: such a request
	// opens only sessions of this principal, and those it starts are theirs.
	// An error is answered with 401. Nil: the session alone says who it is.
	Principal func(*http.Request) (string, error)
	// Collector makes the metadata of new sessions.
	Collector session.Collector
	// ClearSiteData is what a browser is told to clear at sign-out, of the
	// site's domain and its subdomains. Nil: cache, cookies and storage. Empty:
	// nothing.
	ClearSiteData []string

	// Logger is told what people may have to act on. No ids, users or data are
	// logged. Nil: nothing is.
	Logger *slog.Logger
}

// Sessions finds and keeps the sessions of the clients of a web server. It has
// no state of its own, and is safe for concurrent use.
type Sessions struct {
	manager *session.Manager
	opts    Options
	cookie  Cookie
	clear   string // the value of Clear-Site-Data at sign-out
	tidy    string // the same where a new session has followed: its cookie stays
	log     *slog.Logger
}

// New returns the Sessions of m, or what is wrong with the options: first of
// all a cookie that browsers would not keep.
func New(m *session.Manager, opts Options) (*Sessions, error) {
	s := &Sessions{manager: m, opts: opts, cookie: opts.Cookie.defaults(), log: opts.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if opts.HeaderOnly && opts.Header == "" {
		return nil, fmt.Errorf("web sessions: %w", errNoTransport)
	}
	if opts.Header != "" {
		if err := checkHeader(opts.Header); err != nil {
			return nil, fmt.Errorf("web sessions: %w", err)
		}
		s.opts.Header = http.CanonicalHeaderKey(opts.Header)
	}
	if !opts.HeaderOnly {
		if err := s.cookie.check(); err != nil {
			return nil, fmt.Errorf("web sessions: cookie: %w", err)
		}
	}
	if err := s.setClear(opts.ClearSiteData); err != nil {
		return nil, fmt.Errorf("web sessions: %w", err)
	}
	return s, nil
}

// setClear makes the values of Clear-Site-Data.
func (s *Sessions) setClear(types []string) error {
	if types == nil {
		types = []string{"cache", "cookies", "storage"}
	}
	known := []string{"cache", "clientHints", "cookies", "executionContexts", "prefetchCache", "prerenderCache", "storage", "*"}
	var all, tidy []string
	for _, t := range types {
		if !slices.Contains(known, t) {
			return fmt.Errorf("browsers know no type %q for Clear-Site-Data", t)
		}
		all = append(all, strconv.Quote(t))
		if t != "cookies" && t != "*" {
			tidy = append(tidy, strconv.Quote(t))
		}
	}
	s.clear, s.tidy = strings.Join(all, ", "), strings.Join(tidy, ", ")
	return nil
}

// Middleware lets next find the session of its request by [FromContext]. It
// refuses requests that name more than one session.
func (s *Sessions) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, r, err := s.read(r)
		if err != nil {
			Error(w, err)
			return
		}
		out := &response{ResponseWriter: w, tell: s.tell}
		handle := &Session{sessions: s, request: r, out: out, ticket: ticket}
		r = r.WithContext(context.WithValue(r.Context(), contextKey{}, handle))
		// Also when next panics: the client must get the new id with the 500.
		defer out.begin()
		defer removeFiles(r) // net/http knows of its own copy of the request only
		next.ServeHTTP(out, r)
	})
}

// removeFiles removes what a form has put into temporary files.
func removeFiles(r *http.Request) {
	if r.MultipartForm != nil {
		_ = r.MultipartForm.RemoveAll() // as net/http, which has nobody to tell either
	}
}

type contextKey struct{}

// FromContext returns the session of the request that ctx belongs to. It is
// never nil; without the middleware, what it is asked is [ErrNoMiddleware].
func FromContext(ctx context.Context) *Session {
	if s, ok := ctx.Value(contextKey{}).(*Session); ok {
		return s
	}
	return &Session{}
}
