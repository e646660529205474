package gosdk

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A live session is one that is connected to a server in this process.
//
//	          ┌────────────┐ connected ┌──────┐ idle, drained, fenced, or ┌──────┐
//	request ─▶│ activating │──────────▶│ live │──────────────────────────▶│ gone │
//	          └────────────┘           └──────┘ closed by the server: the └──────┘
//	                 │ failed              │    record stays                  ▲
//	                 ▼                     │ deleted, expired, revoked:       │
//	               gone                    └──────────────────────────────────┘
//	                                         streams end at once, then 404
//
// A request that finds it closing waits until it is gone and activates it anew.
type live struct {
	h      *Handler
	ref    state.Ref
	user   string
	events *events

	// Set by the activation, read by others once ready is closed.
	epoch       uint64 // of the ownership under which it is live; zero: never owned
	tr          *mcp.StreamableServerTransport
	ss          *mcp.ServerSession
	conn        *conn
	versions    []string // that its server speaks
	reactivated bool
	err         error // why the activation failed

	lost  <-chan struct{} // closed when this replica may not be its owner any more; nil if it is the only one
	ready chan struct{}   // closed when the activation is over
	gone  chan struct{}   // closed when it is out of the registry

	mu        sync.Mutex // guards all below; held for moments only
	posts     int        // POSTs inside the SDK
	streams   int        // GETs inside the SDK
	calls     int        // JSON-RPC calls that are being handled
	asks      int        // requests to the client without an answer
	used      time.Time  // when the last of these ended
	touched   time.Time  // when the record was last told of the use
	deadline  time.Time  // absolute, on this process's monotonic clock
	closing   bool
	ended     bool // the record is gone
	confirmed bool // its client was told the id, by a result of initialize
	saved     saved
	sender    sender // of forwarded requests
}

func newLive(h *Handler, ref state.Ref, user string) *live {
	l := &live{
		h: h, ref: ref, user: user,
		ready: make(chan struct{}), gone: make(chan struct{}),
	}
	if h.opts.Cluster != nil {
		l.lost = h.opts.Cluster.Lost()
	}
	return l
}

// enter admits a request, unless the session is closing. The request has to
// leave.
func (l *live) enter(method string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	*l.counter(method)++
	return true
}

func (l *live) leave(method string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.counter(method)--
	l.used = time.Now()
}

func (l *live) counter(method string) *int {
	if method == http.MethodGet {
		return &l.streams
	}
	return &l.posts
}

func (l *live) callBegins() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
}

func (l *live) callEnds() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls--
	l.used = time.Now()
}

func (l *live) askBegins() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks++
}

func (l *live) askEnds() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks--
	l.used = time.Now()
}

func (l *live) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

func (l *live) hasEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// running reports whether calls are being handled.
func (l *live) running() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls > 0
}

// busy reports whether calls are being handled or on their way in or out.
func (l *live) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls > 0 || l.posts > 0
}

// inUse reports whether a request, stream or call keeps the record from
// becoming idle.
func (l *live) inUse() bool { return l.posts > 0 || l.streams > 0 || l.calls > 0 }

// mayPassivate reports whether nothing has needed the session for so long.
func (l *live) mayPassivate(now time.Time, after time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quiet(now, after)
}

func (l *live) quiet(now time.Time, after time.Duration) bool {
	return !l.closing && !l.inUse() && l.asks == 0 && now.Sub(l.used) >= after
}

// closeIf marks the session as closing if the condition holds, which is asked
// under l.mu, and nobody did before.
func (l *live) closeIf(condition func() bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing || !condition() {
		return false
	}
	l.closing = true
	return true
}

func always() bool { return true }

// closedBySDK is called when the SDK closes the session: because this package
// had it closed, because the server's code closed it, or because the client
// does not answer the server's pings. None of these ends the record. Servers
// close their sessions to shut down, and a client that sleeps comes back.
func (l *live) closedBySDK() {
	if !l.closeIf(always) {
		return
	}
	// Not here: this is called under a lock of the SDK's.
	l.h.spawn(func() {
		defer l.h.release(l)
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		if err := l.events.flush(ctx); err != nil {
			l.h.log.Warn("could not store the events of a session that was closed", "ref", l.ref, "error", err)
		}
		l.events.stop()
	})
}

// opened notes the answer to the initialize.
func (l *live) opened(ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirmed = ok
}

func (l *live) isConfirmed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.confirmed
}

// negotiated makes sure that the revision which the client is about to be told
// is the one that is stored.
func (l *live) negotiated(ctx context.Context, version string) error {
	l.mu.Lock()
	same := l.saved.Version == version
	l.mu.Unlock()
	if same {
		return nil
	}
	return l.persist(ctx, func(v *saved) { v.Version = version })
}

// initialized stores that the client has said so, once.
func (l *live) initialized(ctx context.Context) error {
	l.mu.Lock()
	already := l.saved.Initialized
	l.mu.Unlock()
	if already {
		return nil
	}
	return l.persist(ctx, func(v *saved) { v.Initialized = true })
}

// persist stores a change of what is saved. If the record is gone, or another
// replica's, the session is closed too.
func (l *live) persist(ctx context.Context, apply change) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	var now saved
	_, err := l.h.manager.UpdateRef(ctx, l.ref, func(s *session.Session) error {
		v, err := savedIn(s)
		if err != nil {
			return err
		}
		apply(&v)
		s.Metadata.ProtocolVersion = v.Version
		now = v
		return s.Set(savedKey, v)
	}, session.AtEpoch(l.epoch))
	switch {
	case err == nil:
		l.mu.Lock()
		l.saved = now
		l.mu.Unlock()
		return nil
	case errors.Is(err, session.ErrNotFound):
		l.h.end(l)
	case errors.Is(err, session.ErrFenced):
		l.h.lose(l)
	default:
		l.h.log.Warn("could not store the state of a session", "ref", l.ref, "error", err)
	}
	return err
}
