package gosdk

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A Handler serves MCP over Streamable HTTP in both eras, in the place of
// mcp.StreamableHTTPHandler, with sessions that are kept by a Manager. It is
// safe for concurrent use. Close it when it is no longer needed.
type Handler struct {
	getServer func(*http.Request) *mcp.Server
	manager   *session.Manager
	opts      Options
	log       *slog.Logger
	guard     *streamable.Guard
	modern    *mcp.StreamableHTTPHandler
	versions  map[string]context.Context // see borrowVersions

	lastServer  atomic.Pointer[spoken]
	live        registry
	servers     servers
	listeners   listeners
	notices     chan notice   // of other replicas
	sessionless *gate         // requests of the modern era
	passing     atomic.Int64  // requests that are being forwarded, but for streams
	arrivals    atomic.Int64  // requests that are in ServeHTTP, but for GET
	grace       time.Duration // see arrivalGrace

	stop  context.CancelFunc // ends what runs in the background
	ctx   context.Context    // done when it does
	tasks tasks
}

// NewHandler returns a Handler for the sessions of m. getServer returns the
// server of a new or re-activated session, or of a modern request, which may
// be the same each time; with nil the request is refused with 400. For a
// re-activated session it should return a server with what the session's
// first one had.
//
// The Handler watches the Manager's store and puts idle sessions away in
// goroutines of its own, until Close.
func NewHandler(getServer func(*http.Request) *mcp.Server, m *session.Manager, opts *Options) (*Handler, error) {
	o, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	versions, err := borrowVersions()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	h := &Handler{
		getServer: getServer, manager: m, opts: o, log: o.Logger, guard: o.guard(), versions: versions,
		live:        registry{max: o.MaxLive, live: map[state.Ref]*live{}},
		sessionless: newGate(), grace: arrivalGrace, stop: stop, ctx: ctx,
	}
	h.modern = mcp.NewStreamableHTTPHandler(h.serverFor, &mcp.StreamableHTTPOptions{
		Stateless:                    true,
		JSONResponse:                 o.JSONResponse,
		Logger:                       o.Logger,
		MaxRequestBodyBytes:          o.MaxRequestBodyBytes,
		DisableLocalhostProtection:   true, // the guard has checked
		PropagateRequestCancellation: true,
	})
	h.spawn(h.watch)
	h.spawn(h.keep)
	if o.Cluster != nil {
		h.joinOthers()
	}
	return h, nil
}

// joinOthers begins what the Handler does because there are other replicas.
func (h *Handler) joinOthers() {
	h.notices = make(chan notice, noticesWaiting)
	unsubscribe := h.opts.Cluster.Subscribe(noticeTopic, h.hear)
	h.spawn(func() {
		defer unsubscribe()
		h.passNotices()
	})
	h.spawn(h.watchStanding)
}

// spawn runs f in a goroutine that Close waits for.
func (h *Handler) spawn(f func()) { h.tasks.run(f) }

// tasks counts goroutines. Unlike a WaitGroup it may start one while somebody
// waits.
type tasks struct {
	mu   sync.Mutex // guards n and idle
	n    int
	idle chan struct{} // closed when n falls to 0; nil if nobody waits
}

func (t *tasks) run(f func()) {
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
	go func() {
		defer t.done()
		f()
	}()
}

func (t *tasks) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// wait reports whether none ran at some moment before the timeout.
func (t *tasks) wait(timeout time.Duration) bool {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return true
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
		return false
	}
}
