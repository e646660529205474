package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// forwarder starts a replica that forwards everything to another one, which
// serves it with h, and returns the first one's handler.
func forwarder(b testing.TB, h http.Handler) http.Handler {
	b.Helper()
	store := memory.New(memory.Options{})
	b.Cleanup(func() { _ = store.Close() })
	join := func(web *httptest.Server) *cluster.Node {
		n, err := cluster.Join(context.Background(), store, cluster.Options{
			Namespace: "bench", Advertise: "http://" + web.Listener.Addr().String(), Timeout: time.Minute,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = n.Close() })
		return n
	}
	web := httptest.NewUnstartedServer(nil)
	b.Cleanup(web.Close)
	owner := join(web)
	web.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, err := owner.Forwarded(r); err != nil {
			cluster.Refuse(w, err)
			return
		}
		h.ServeHTTP(w, r)
	})
	web.Start()
	unused := httptest.NewUnstartedServer(nil)
	b.Cleanup(unused.Close)
	entry := join(unused)
	members, err := owner.Members(context.Background())
	if err != nil || len(members) != 2 {
		b.Fatal(members, err)
	}
	ref, err := state.NewRef(1, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	to := cluster.Member{Name: owner.Name()}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f := cluster.Forwarding{Ref: ref, Client: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Body: body}
		if err := entry.Forward(w, r, to, f); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
}

// reverseProxy is what a user would take to pass requests on.
func reverseProxy(b testing.TB, h http.Handler) http.Handler {
	b.Helper()
	web := httptest.NewServer(h)
	b.Cleanup(web.Close)
	to, err := url.Parse(web.URL)
	if err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	b.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
}

// BenchmarkForwardedHop compares tool calls that are forwarded to the replica
// that owns the session with the same through httputil.ReverseProxy. Target: at
// most 1.3 times the latency, a ratio of 0.77.
func BenchmarkForwardedHop(b *testing.B) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			ours := side(b, "forwarded", forwarder(b, theirs()), clients)
			proxy := side(b, "proxied", reverseProxy(b, theirs()), clients)
			for b.Loop() {
				c, err := Compare(ours, proxy, 40, 100)
				if err != nil {
					b.Fatal(err)
				}
				report(b, c, "httputil.ReverseProxy")
				b.ReportMetric(1/c.Throughput.Mean, "latency-ratio")
			}
		})
	}
}

// BenchmarkForwardedHopAlone is the same with a handler that does nothing: what
// is left is the hop.
func BenchmarkForwardedHopAlone(b *testing.B) {
	nothing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Mcp-Session-Id", "x")
	})
	ours := side(b, "forwarded", forwarder(b, nothing), 1)
	proxy := side(b, "proxied", reverseProxy(b, nothing), 1)
	for b.Loop() {
		c, err := Compare(ours, proxy, 40, 200)
		if err != nil {
			b.Fatal(err)
		}
		report(b, c, "httputil.ReverseProxy")
		b.ReportMetric(1/c.Throughput.Mean, "latency-ratio")
	}
}
