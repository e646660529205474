package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func httpRequest(method, target, body string) *http.Request {
	if body == "" {
		return httptest.NewRequest(method, target, nil)
	}
	return httptest.NewRequest(method, target, strings.NewReader(body))
}

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// A pair is two replicas behind real listeners. Requests go to entry, which
// forwards all of them to owner.
type pair struct {
	entry, owner       *Node
	entryWeb, ownerWeb *httptest.Server
	serve              atomic.Pointer[http.HandlerFunc] // what the owner does with a request that was accepted
	accepted           atomic.Int64                     // requests
	failed             chan error                       // of Forward
	read               bool                             // the entry reads the body first
	conns              func(net.Conn) net.Conn          // wraps connections to the owner
	options            func(*Options, *httptest.Server)
	ref                state.Ref
	client             netip.Addr
}

// newPair starts two replicas; set may change the pair before.
func newPair(t testing.TB, set ...func(*pair)) *pair {
	t.Helper()
	store := memory.New(memory.Options{})
	t.Cleanup(func() { _ = store.Close() })
	p := &pair{failed: make(chan error, 100), read: true, client: netip.MustParseAddr("192.0.2.7")}
	var err error
	if p.ref, err = state.NewRef(7, randomness{}); err != nil {
		t.Fatal(err)
	}
	for _, f := range set {
		f(p)
	}
	p.owner, p.ownerWeb = p.join(t, store, http.HandlerFunc(p.own))
	p.entry, p.entryWeb = p.join(t, store, http.HandlerFunc(p.enter))
	for _, web := range []*httptest.Server{p.ownerWeb, p.entryWeb} {
		if web.TLS != nil {
			web.StartTLS()
		} else {
			web.Start()
		}
	}
	return p
}

// join starts a node as a program does: it listens, joins, then serves.
func (p *pair) join(t testing.TB, store state.Store, h http.Handler) (*Node, *httptest.Server) {
	t.Helper()
	web := httptest.NewUnstartedServer(nil)
	t.Cleanup(web.Close)
	o := Options{
		// No test depends on how long this machine takes.
		Namespace: namespace, Advertise: "http://" + web.Listener.Addr().String(), Timeout: time.Minute, dial: p.dial,
	}
	if p.options != nil {
		p.options(&o, web)
	}
	n, err := Join(context.Background(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	web.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == PeerPath {
			n.Peers().ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
	return n, web
}

func (p *pair) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err == nil && p.conns != nil {
		c = p.conns(c)
	}
	return c, err
}

// own is what the owner does.
func (p *pair) own(w http.ResponseWriter, r *http.Request) {
	f, ok, err := p.owner.Forwarded(r)
	switch {
	case err != nil:
		Refuse(w, err)
		return
	case !ok || f.Ref != p.ref || f.From != p.entry.Name() || f.Client != p.client:
		http.Error(w, "not as it was sent", http.StatusTeapot)
		return
	}
	p.accepted.Add(1)
	if h := p.serve.Load(); h != nil {
		(*h)(w, r)
	}
}

// serving sets what the owner does.
func (p *pair) serving(f http.HandlerFunc) { p.serve.Store(&f) }

// enter is what the entry does.
func (p *pair) enter(w http.ResponseWriter, r *http.Request) {
	f := Forwarding{Ref: p.ref, Client: p.client}
	if p.read {
		var err error
		if f.Body, err = io.ReadAll(r.Body); err != nil {
			http.Error(w, "cannot read the body", http.StatusBadRequest)
			return
		}
	}
	if err := p.entry.Forward(w, r, p.to(), f); err != nil {
		p.failed <- err
		http.Error(w, "not forwarded", http.StatusBadGateway)
	}
}

func (p *pair) to() Member { return Member{Name: p.owner.Name()} }

// do sends a request to the entry and reads the answer.
func (p *pair) do(t testing.TB, method, target, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.entryWeb.URL+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

// fails sends a request and returns the error of Forward.
func (p *pair) fails(t testing.TB, method, body string, header http.Header) error {
	t.Helper()
	if res, _ := p.do(t, method, "/mcp", body, header); res.StatusCode != http.StatusBadGateway {
		t.Fatalf("status %d", res.StatusCode)
	}
	select {
	case err := <-p.failed:
		return err
	case <-time.After(patience):
		t.Fatal("nothing failed")
		return nil
	}
}

func mustFailWith(t testing.TB, err error, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}
