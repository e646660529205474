package gosdk

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// Replicas are several handlers on one store, in one process.
type replicas struct {
	t       testing.TB
	store   *memory.Store
	timeout time.Duration
	opts    Options
	secrets testkit.Secrets
	log     *slog.Logger

	mu  sync.Mutex // guards all below
	all []*replica
}

// A replica is one of them, with a server of its own.
type replica struct {
	process
	store *switched
	web   *httptest.Server
	node  *cluster.Node
	gone  atomic.Bool // no client's request goes there
}

func newReplicas(t testing.TB, n int, options ...func(*Options)) *replicas {
	t.Helper()
	rs := &replicas{t: t, store: memory.New(memory.Options{}), timeout: 1 * time.Second}
	rs.log = logTo(io.MultiWriter(testWriter{t}, rs.secrets.Log(t)))
	for _, o := range options {
		o(&rs.opts)
	}
	t.Cleanup(func() { _ = rs.store.Close() })
	for range n {
		rs.add()
	}
	return rs
}

func (rs *replicas) add() *replica {
	rs.t.Helper()
	r := &replica{process: process{tools: newTools()}, store: &switched{Store: rs.store}}
	var serve atomic.Pointer[http.Handler]
	r.web = httptest.NewServer(rs.secrets.Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		(*serve.Load()).ServeHTTP(w, req)
	})))
	var err error
	r.node, err = cluster.Join(rs.t.Context(), r.store, cluster.Options{
		Namespace: "default", Advertise: r.web.URL, Timeout: rs.timeout, Logger: rs.log,
	})
	if err != nil {
		rs.t.Fatal(err)
	}
	if r.manager, err = session.NewManager(r.store, session.Options{}); err != nil {
		rs.t.Fatal(err)
	}
	opts := rs.opts
	opts.Events, opts.Cluster, opts.Logger = r.store, r.node, rs.log
	r.server = newServer(r.tools)
	if r.handler, err = NewHandler(func(*http.Request) *mcp.Server { return r.server }, r.manager, &opts); err != nil {
		rs.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", r.handler)
	mux.Handle(cluster.PeerPath, r.node.Peers())
	var h http.Handler = mux
	serve.Store(&h)
	rs.t.Cleanup(func() { r.close(rs.t) })
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.all = append(rs.all, r)
	return r
}

func (r *replica) close(t testing.TB) {
	r.store.cut.Store(false)
	r.tools.release()
	if err := r.handler.Close(); err != nil {
		t.Errorf("close handler: %v", err)
	}
	if err := r.node.Close(); err != nil {
		t.Errorf("close node: %v", err)
	}
	r.web.CloseClientConnections()
	r.web.Close()
}

// liveAt returns the replica in which the only session is live.
func (rs *replicas) liveAt() *replica {
	for _, r := range rs.all {
		if len(r.handler.live.all()) > 0 {
			return r
		}
	}
	return nil
}

// pick returns a random replica that clients reach.
func (rs *replicas) pick() *replica {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for {
		if r := rs.all[rand.N(len(rs.all))]; !r.gone.Load() {
			return r
		}
	}
}

// anywhere sends each request to a random replica, as a balancer does.
type anywhere struct{ rs *replicas }

func (a anywhere) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(a.rs.pick().web.URL)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Host, r.Host = to.Host, to.Host
	return http.DefaultTransport.RoundTrip(r)
}

// connect connects a client through a balancer.
func (rs *replicas) connect(options ...peerOption) *peer {
	rs.t.Helper()
	w := &world{t: rs.t, web: rs.all[0].web}
	return w.connect(append([]peerOption{func(_ *mcp.ClientOptions, tr *mcp.StreamableClientTransport, _ *mcp.ClientSessionOptions) {
		tr.HTTPClient = &http.Client{Transport: anywhere{rs}}
		tr.MaxRetries = 50
	}}, options...)...)
}

// testWriter writes to the test's log.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Log(string(p))
	return len(p), nil
}

func TestASessionIsServedThroughAnyReplica(t *testing.T) {
	rs := newReplicas(t, 3)
	p := rs.connect()
	ctx := testContext(t)
	for range 20 {
		p.add("x")
	}
	for range 5 {
		everything(t, nil, p)
	}
	//lint:ignore SA1019 legacy
	if err := p.cs.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: "debug"}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		p.call("log", nil)
	}
	eventually(t, "log messages", p.saw(func() bool { return p.logged == 4 }))
	if got := p.add("")["items"].([]any); len(got) != 20 {
		t.Errorf("%d items", len(got))
	}
	total := 0
	for _, r := range rs.all {
		total += len(r.handler.live.all())
	}
	if total != 1 {
		t.Errorf("the session is live in %d replicas", total)
	}
}

func TestACancellationReachesTheOwner(t *testing.T) {
	rs := newReplicas(t, 3)
	p := rs.connect()
	owner := rs.liveAt()
	for range 4 {
		ctx, cancel := context.WithCancel(testContext(t))
		done := make(chan error, 1)
		go func() {
			_, err := p.cs.CallTool(ctx, &mcp.CallToolParams{Name: "slow", Arguments: item{"x"}})
			done <- err
		}()
		<-owner.tools.started
		cancel()
		<-done
		eventually(t, "the call ends at the owner", func() bool { return !owner.handler.live.all()[0].running() })
	}
}

// A client whose connection broke comes back before its owner has heard of it.
func TestWhoeverComesLastHasTheStream(t *testing.T) {
	rs := newReplicas(t, 2)
	p := rs.connect(withoutStream)
	open := func(r *replica) (*http.Response, error) {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, r.web.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("Mcp-Session-Id", p.cs.ID())
		return http.DefaultClient.Do(req)
	}
	first, err := open(rs.all[0])
	if err != nil || first.StatusCode != http.StatusOK {
		t.Fatalf("the first stream: %v, %v", first, err)
	}
	defer first.Body.Close()
	for _, r := range []*replica{rs.all[1], rs.all[0], rs.all[1]} {
		next, err := open(r)
		if err != nil || next.StatusCode != http.StatusOK {
			t.Fatalf("the next stream: %v, %v", next, err)
		}
		if _, err := io.Copy(io.Discard, first.Body); err != nil {
			t.Errorf("the stream before it did not end in order: %v", err)
		}
		first.Body.Close()
		first = next
	}
}
