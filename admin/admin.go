// Package admin serves what operators and their machinery ask of a running
// Coatcheck: whether it is alive, whether it should get requests, its metrics,
// and its sessions, to look at them and to end them.
//
// It belongs on a listener of its own, on loopback unless a token protects it.
// Nothing it answers contains a secret. Only /api names users and shows data.
//
// [Sessions] is the same for who has the store ([Local]) and for who has the
// URL of a server ([Client]).
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

// Options says what a Handler reports on.
type Options struct {
	// Ready reports whether requests can be served, as an error that says why
	// not. It is asked by every /readyz and must honour its context. Required.
	Ready func(context.Context) error
	// ReadyTimeout bounds one call of Ready. Zero: two seconds.
	ReadyTimeout time.Duration
	// Metrics serves /metrics. Nil: there is none.
	Metrics http.Handler
	// Sessions are those under /api/sessions. Nil: there are none.
	Sessions Sessions
	// Doctor examines the store, for /api/doctor, and reports each check as
	// it is done. Nil: there is none.
	Doctor func(ctx context.Context, report func(Finding) error) error
	// Token, if not empty, is demanded as a bearer token for everything but
	// /healthz and /readyz, which orchestrators ask without credentials.
	Token string
}

// Handler serves /healthz, /readyz, /metrics and /api. Create it with [New]; its
// methods may be called concurrently.
type Handler struct {
	opts     Options
	mux      *http.ServeMux
	guard    streamable.Guard
	draining atomic.Bool

	life context.Context // until Drain
	end  context.CancelFunc
}

// ErrDraining is what /readyz reports after [Handler.Drain].
var ErrDraining = errors.New("draining")

// New returns a Handler.
func New(opts Options) *Handler {
	if opts.ReadyTimeout <= 0 {
		opts.ReadyTimeout = 2 * time.Second
	}
	h := &Handler{opts: opts, mux: http.NewServeMux()}
	h.life, h.end = context.WithCancel(context.Background())
	h.mux.HandleFunc("GET /healthz", h.health)
	h.mux.HandleFunc("GET /readyz", h.ready)
	if opts.Metrics != nil {
		h.mux.Handle("GET /metrics", h.authorized(opts.Metrics))
	}
	h.routes()
	return h
}

// Drain makes /readyz answer 503 from now on, so that no new requests are sent
// here, and ends who watches. /healthz stays well: a draining process must not
// be killed for it.
func (h *Handler) Drain() {
	h.draining.Store(true)
	h.end()
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A web page can reach this listener from the browser of whoever visits it.
	if err := h.guard.Check(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.mux.ServeHTTP(w, r)
}

// health answers that the process runs, without asking anything else: what a
// restart would not mend must not cause one.
func (h *Handler) health(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

func (h *Handler) ready(w http.ResponseWriter, r *http.Request) {
	if err := h.check(r.Context()); err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (h *Handler) check(ctx context.Context) error {
	if h.draining.Load() {
		return ErrDraining
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.ReadyTimeout)
	defer cancel()
	return h.opts.Ready(ctx)
}

func (h *Handler) authorized(next http.Handler) http.Handler {
	if h.opts.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(h.opts.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="coatcheck admin"`)
			http.Error(w, "a bearer token is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
