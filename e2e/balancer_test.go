package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	stdlog "log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// checkInterval and checkTimeout are how the balancer finds out which
	// replicas are ready.
	checkInterval = 100 * time.Millisecond
	checkTimeout  = 1 * time.Second
	// deadAfter is how many checks in a row have to go without an answer
	// until a replica counts as dead: a busy machine is slow.
	deadAfter = 3
)

// A balancer sends each request to a random replica that is ready, as a plain
// load balancer without affinity does: it asks /readyz, tries another replica
// where a connection is refused, or breaks before there is an answer to a GET,
// and cuts the connections to one that it finds dead.
type balancer struct {
	t   testing.TB
	web *httptest.Server

	vain atomic.Int64 // requests for which no replica was ready

	mu       sync.Mutex // guards replicas
	replicas []*backend
}

// A backend is a replica as the balancer sees it.
type backend struct {
	s    *server
	base *url.URL

	mu   sync.Mutex // guards all below
	up   bool
	mute int             // checks in a row without an answer
	dead context.Context // done when it did not answer
	cut  context.CancelFunc
}

func newBalancer(t testing.TB) *balancer {
	b := &balancer{t: t}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Transport:     b,
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetXForwarded() },
		ErrorLog:      stdlog.New(io.Discard, "", 0), // broken streams are what this is about
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			t.Logf("%s the balancer could not serve a %s: %v", time.Now().Format(time.TimeOnly), r.Method, err)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "bad gateway", http.StatusBadGateway)
		},
	}
	b.web = httptest.NewServer(proxy)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.check(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		b.web.CloseClientConnections()
		b.web.Close()
	})
	return b
}

func (b *balancer) url() string { return b.web.URL + "/mcp" }

// add has the balancer send requests to a replica, which is ready.
func (b *balancer) add(s *server) {
	base, err := url.Parse(s.url)
	if err != nil {
		b.t.Fatal(err)
	}
	r := &backend{s: s, base: base}
	r.mark(true, false)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replicas = append(b.replicas, r)
}

// remove forgets a replica.
func (b *balancer) remove(s *server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replicas = slices.DeleteFunc(b.replicas, func(r *backend) bool { return r.s == s })
}

func (b *balancer) all() []*backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.replicas)
}

// ready returns the replicas that are up, in random order.
func (b *balancer) ready() []*backend {
	up := slices.DeleteFunc(b.all(), func(r *backend) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return !r.up
	})
	rand.Shuffle(len(up), func(i, j int) { up[i], up[j] = up[j], up[i] })
	return up
}

// RoundTrip sends a request to a random replica, and to the next one if that
// refuses the connection.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	err := errors.New("no replica is ready")
	ready := b.ready()
	if len(ready) == 0 {
		b.vain.Add(1)
	}
	for _, to := range ready {
		var resp *http.Response
		if resp, err = to.send(r, body); err == nil {
			return resp, nil
		}
		var dial *net.OpError
		unsent := errors.As(err, &dial) && dial.Op == "dial"
		if r.Context().Err() != nil || !unsent && r.Method != http.MethodGet {
			break // it may have arrived
		}
	}
	return nil, err
}

func (r *backend) send(req *http.Request, body []byte) (*http.Response, error) {
	r.mu.Lock()
	dead := r.dead
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(dead, cancel)
	out := req.Clone(ctx)
	out.URL.Scheme, out.URL.Host = r.base.Scheme, r.base.Host
	if body != nil {
		// A connection that was idle may have been closed at this moment.
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, _ = out.GetBody()
		out.ContentLength = int64(len(body))
	}
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	resp.Body = &lastRead{ReadCloser: resp.Body, over: func() { stop(); cancel() }}
	return resp, nil
}

// lastRead calls over when the body is closed.
type lastRead struct {
	io.ReadCloser
	over func()
}

func (l *lastRead) Close() error {
	defer l.over()
	return l.ReadCloser.Close()
}

// check asks the replicas whether they are ready.
func (b *balancer) check(ctx context.Context) {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		var all sync.WaitGroup
		for _, r := range b.all() {
			all.Go(func() { r.mark(r.probe(ctx)) })
		}
		all.Wait()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// probe asks /readyz. A replica that answers that it is not ready keeps its
// connections; one that does not answer may be dead.
func (r *backend) probe(ctx context.Context) (ready, dead bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.s.admin+"/readyz", nil)
	if err != nil {
		return false, false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, true
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK, false
}

func (r *backend) mark(ready, dead bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up = ready
	if !dead {
		r.mute = 0
		if r.cut == nil {
			r.dead, r.cut = context.WithCancel(context.Background())
		}
		return
	}
	if r.mute++; r.mute == deadAfter && r.cut != nil {
		r.cut()
		r.cut = nil
	}
}
