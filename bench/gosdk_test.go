package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

const revision = "2025-11-25"

func echoServer() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
	type text struct {
		Text string `json:"text"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "echo"}, func(_ context.Context, _ *mcp.CallToolRequest, in text) (*mcp.CallToolResult, text, error) {
		return nil, in, nil
	})
	return server
}

// theirs is the SDK's own handler: in memory, without an event store.
func theirs() http.Handler {
	server := echoServer()
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
}

// ours is this project's handler on SQLite, with events.
func ours(b testing.TB, db sqlite.Options, opts gosdk.Options) *gosdk.Handler {
	b.Helper()
	store, err := sqlite.Open(context.Background(), filepath.Join(b.TempDir(), "bench.db"), db)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	manager, err := session.NewManager(store, session.Options{})
	if err != nil {
		b.Fatal(err)
	}
	opts.Events = store
	server := echoServer()
	h, err := gosdk.NewHandler(func(*http.Request) *mcp.Server { return server }, manager, &opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.Close() })
	return h
}

// A caller is a client with a session: as lean as it can be, so that what is
// measured is the server.
type caller struct {
	client *http.Client
	url    string
	header http.Header
}

func newCaller(client *http.Client, url string) (*caller, error) {
	c := &caller{client: client, url: url, header: http.Header{
		"Content-Type": {"application/json"},
		"Accept":       {"application/json, text/event-stream"},
	}}
	header, err := c.post(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"` + revision +
		`","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`)
	if err != nil {
		return nil, err
	}
	c.header.Set("Mcp-Session-Id", header.Get("Mcp-Session-Id"))
	c.header.Set("Mcp-Protocol-Version", revision)
	_, err = c.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return c, err
}

func (c *caller) post(body string) (http.Header, error) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header = c.header
	res, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 || bytes.Contains(answer, []byte(`"error"`)) {
		return nil, fmt.Errorf("status %d: %s", res.StatusCode, answer)
	}
	return res.Header, nil
}

// side makes a Side of a handler, called by so many clients.
func side(b testing.TB, name string, h http.Handler, clients int) Side {
	b.Helper()
	web := httptest.NewServer(h)
	b.Cleanup(web.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	b.Cleanup(transport.CloseIdleConnections)
	callers := make([]*caller, clients)
	for i := range callers {
		var err error
		if callers[i], err = newCaller(&http.Client{Transport: transport}, web.URL); err != nil {
			b.Fatal(err)
		}
	}
	return Side{Name: name, Run: func(n int) (time.Duration, error) { return callAll(callers, n) }}
}

func callAll(callers []*caller, n int) (time.Duration, error) {
	const body = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}`
	var left atomic.Int64
	left.Store(int64(n))
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	began := time.Now()
	for _, c := range callers {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := c.post(body); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	if err := failed.Load(); err != nil {
		return took, *err
	}
	return took, nil
}

// BenchmarkToolCalls compares tool calls through this project's handler on
// SQLite with those through the SDK's own. Target: at least 0.95.
func BenchmarkToolCalls(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			a := side(b, "coatcheck", ours(b, sqlite.Options{}, gosdk.Options{}), clients)
			t := side(b, "sdk", theirs(), clients)
			for b.Loop() {
				c, err := Compare(a, t, 100, 200)
				if err != nil {
					b.Fatal(err)
				}
				report(b, c, "the SDK's own handler")
			}
		})
	}
}

func report(b *testing.B, c Comparison, theirs string) {
	b.Logf("throughput %s times that of %s; per processor time %s", c.Throughput, theirs, c.CPU)
	b.ReportMetric(c.Throughput.Mean, "ratio")
	b.ReportMetric(c.Throughput.Low, "ratio-low")
	b.ReportMetric(c.Throughput.High, "ratio-high")
	b.ReportMetric(c.CPU.Mean, "cpu-ratio")
}

// BenchmarkIdleSessions compares the memory and goroutines that 100,000 idle
// sessions keep, caches included. Those of the SDK's own handler cost the same
// each, so a tenth of them is measured. Target: at most a tenth, and no
// goroutine each.
func BenchmarkIdleSessions(b *testing.B) {
	const sessions = 100_000
	for b.Loop() {
		mine := idleCost(b, ours(b, sqlite.Options{}, gosdk.Options{PassivateAfter: time.Second}), sessions)
		yours := idleCost(b, theirs(), sessions/10)
		b.Logf("each idle session: %.0f bytes and %.4f goroutines, with the SDK's own handler %.0f and %.4f",
			mine.bytes, mine.goroutines, yours.bytes, yours.goroutines)
		b.ReportMetric(mine.bytes/yours.bytes, "ratio")
		b.ReportMetric(mine.bytes, "B/session")
		b.ReportMetric(mine.goroutines, "goroutines/session")
	}
}

type cost struct{ bytes, goroutines float64 }

// idleCost returns what each of n sessions costs that are idle.
func idleCost(b testing.TB, h http.Handler, n int) cost {
	b.Helper()
	before, goroutines := heap()
	var group sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	for range 64 {
		group.Go(func() {
			client := &http.Client{Transport: inProcess{h}}
			for left.Add(-1) >= 0 {
				if _, err := newCaller(client, "http://localhost/"); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	// Sessions become idle: until nothing changes any more.
	least, settled := ^uint64(0), 0
	deadline := time.Now().Add(time.Minute)
	for settled < 10 && time.Now().Before(deadline) {
		time.Sleep(200 * time.Millisecond)
		now, _ := heap()
		if now+now/100 >= least {
			settled++
		} else {
			settled = 0
		}
		least = min(least, now)
	}
	_, running := heap()
	runtime.KeepAlive(h)
	return cost{
		bytes:      (float64(least) - float64(before)) / float64(n),
		goroutines: float64(running-goroutines) / float64(n),
	}
}

// heap returns heap and stacks in use, and the number of goroutines.
func heap() (bytes uint64, goroutines int) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()
}

// inProcess calls a handler without a network, whose connections would be
// measured too.
type inProcess struct{ h http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.h.ServeHTTP(w, r)
	return w.Result(), nil
}
