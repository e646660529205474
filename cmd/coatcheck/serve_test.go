package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
)

// noted are the ids of sessions that clients were given. Nothing that a command
// prints may have one.
var noted testkit.Secrets

func TestMain(m *testing.M) {
	http.DefaultTransport = noted.Transport(http.DefaultTransport)
	goleak.VerifyTestMain(m,
		// Redis's client looks at its cluster a moment after a failure, closed
		// or not; it takes a second at most.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// output is written by a command while a test reads it.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// field waits for a line of the greeting and returns its first word.
func (o *output) field(t *testing.T, label string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		for line := range strings.Lines(o.String()) {
			if rest, ok := strings.CutPrefix(line, label); ok && strings.HasSuffix(line, "\n") {
				word, _, _ := strings.Cut(strings.TrimSpace(rest), "/healthz")
				return word
			}
		}
	}
	t.Fatalf("no %s in %q", label, o)
	return ""
}

// TestServeRunsUntilItsContextEnds runs all of serve in this process, where
// the race detector and goleak see it.
func TestServeRunsUntilItsContextEnds(t *testing.T) {
	for _, store := range []string{"memory:", "sqlite:" + t.TempDir() + "/coatcheck.db"} {
		t.Run(store[:6], func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var out, errOut output
			status := make(chan int, 1)
			go func() {
				status <- run(ctx, []string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--store=" + store}, &out, &errOut)
			}()
			url, admin := out.field(t, "MCP endpoint"), out.field(t, "Admin")
			const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`
			for _, ask := range []func(context.Context) (*http.Request, error){
				func(ctx context.Context) (*http.Request, error) {
					return http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(initialize))
				},
				func(ctx context.Context) (*http.Request, error) {
					return http.NewRequestWithContext(ctx, http.MethodGet, admin+"/readyz", nil)
				},
			} {
				req, err := ask(ctx)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Accept", "application/json, text/event-stream")
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", req.URL, resp.Status)
				}
			}
			http.DefaultClient.CloseIdleConnections()
			cancel()
			select {
			case got := <-status:
				if got != exitOK {
					t.Errorf("status %d: %s", got, &errOut)
				}
			case <-time.After(time.Minute):
				t.Fatal("serve does not end")
			}
			noted.Check(t, "serve", out.String()+errOut.String())
		})
	}
}
