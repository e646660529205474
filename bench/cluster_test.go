package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

// A member is a replica: a handler with its node.
type member struct {
	handler *gosdk.Handler
	node    *cluster.Node
}

// newMember makes the only replica on a SQLite file.
func newMember(b testing.TB) *member {
	b.Helper()
	store, err := sqlite.Open(context.Background(), filepath.Join(b.TempDir(), "bench.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	manager, err := session.NewManager(store, session.Options{Policy: session.Policy{MaxPerUser: -1}})
	if err != nil {
		b.Fatal(err)
	}
	node, err := cluster.Join(context.Background(), store, cluster.Options{
		Namespace: manager.Namespace(), Advertise: "http://127.0.0.1:1", Timeout: 30 * time.Second,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = node.Close() })
	server := echoServer()
	h, err := gosdk.NewHandler(func(*http.Request) *mcp.Server { return server }, manager, &gosdk.Options{Events: store, Cluster: node})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.Close() })
	return &member{handler: h, node: node}
}

// BenchmarkOwner compares tool calls that reach the owner of their session, in
// a replica, with those of a server that is the only one. Target: at least
// 0.95.
func BenchmarkOwner(b *testing.B) {
	a := side(b, "a replica", newMember(b).handler, 16)
	t := side(b, "the only server", ours(b, sqlite.Options{}, gosdk.Options{}), 16)
	for b.Loop() {
		c, err := Compare(a, t, 60, 300)
		if err != nil {
			b.Fatal(err)
		}
		report(b, c, "the only server")
	}
}

// BenchmarkDrain measures how long it takes a replica with 10,000 live sessions
// that are quiet until the others may have them all. Target: under 2 s.
func BenchmarkDrain(b *testing.B) {
	const sessions = 10_000
	for b.Loop() {
		m := newMember(b)
		fillWithSessions(b, m.handler, sessions)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		began, used := time.Now(), processorTime()
		if err := m.node.Drain(ctx); err != nil {
			b.Fatal(err)
		}
		if err := m.handler.Drain(ctx); err != nil {
			b.Fatal(err)
		}
		if err := m.node.Close(); err != nil {
			b.Fatal(err)
		}
		took, cpu := time.Since(began), processorTime()-used
		cancel()
		b.Logf("%d quiet sessions were free after %v, of which %v of processor time", sessions, took, cpu)
		b.ReportMetric(took.Seconds(), "s/drain")
		b.ReportMetric(cpu.Seconds(), "cpu-s/drain")
	}
}

// fillWithSessions has so many sessions live in the handler.
func fillWithSessions(b testing.TB, h http.Handler, n int) {
	b.Helper()
	web := httptest.NewServer(h)
	defer web.Close()
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			client := &http.Client{Transport: inProcess{h}}
			for left.Add(-1) >= 0 {
				if _, err := newCaller(client, web.URL); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
