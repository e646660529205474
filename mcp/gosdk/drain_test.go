package gosdk

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// TestDrainLetsCallsEnd: a call that waits for its user's answer can end while
// the process drains, and everything else is asked to come again.
func TestDrainLetsCallsEnd(t *testing.T) {
	answer := make(chan struct{})
	asked := make(chan struct{})
	w := newWorld(t)
	p := w.connect(func(o *mcp.ClientOptions, _ *mcp.StreamableClientTransport, _ *mcp.ClientSessionOptions) {
		o.ElicitationHandler = func(ctx context.Context, _ *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			close(asked)
			<-answer
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada"}}, nil
		}
	}, withoutStream)
	idle := w.raw().begin(streamable.V20251125)
	open := idle.stream()
	called := make(chan error, 1)
	go func() {
		out, err := p.try("ask", nil)
		if err == nil && out["answer"] != "Ada" {
			err = errors.New("wrong answer")
		}
		called <- err
	}()
	<-asked
	h := w.now().handler
	drained := make(chan error, 1)
	go func() { drained <- h.Drain(testContext(t)) }()
	eventually(t, "the drain to begin", h.live.isClosed)

	for name, got := range map[string]reply{
		"call":       idle.post(pingBody),
		"stream":     idle.do("GET", ""),
		"answer":     idle.post(`{"jsonrpc":"2.0","id":1,"result":{}}`), // of a session where none is awaited
		"initialize": w.raw().post(initializeBody(streamable.V20251125)),
		"modern":     w.raw().with("MCP-Protocol-Version", streamable.V20260728).post(pingBody),
	} {
		if got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s while draining: %d", name, got.status)
		}
	}
	select {
	case err := <-drained:
		t.Fatalf("the drain did not wait for the call: %v", err)
	default:
	}
	close(answer)
	if err := <-called; err != nil {
		t.Errorf("the running call: %v", err)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
	open.ends()
	if n := len(h.live.all()); n != 0 {
		t.Errorf("%d live sessions after the drain", n)
	}
	w.start()
	if got := idle.post(pingBody); got.status != 200 {
		t.Errorf("after the restart: %d", got.status)
	}
}

func TestDrainGivesUpOnCallsThatDoNotEnd(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	call := c.listen(c.open("POST", callBody(3, "slow", `{"item":"x"}`)))
	<-w.now().tools.started
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Millisecond)
	defer cancel()
	if err := w.now().handler.Drain(ctx); !errors.Is(err, ErrCut) {
		t.Errorf("drain: %v", err)
	}
	call.ends()
	w.start()
	if got := c.post(pingBody); got.status != 200 {
		t.Errorf("the session after the restart: %d", got.status)
	}
}

func TestDrainEndsModernSubscriptionsAndWaitsForModernCalls(t *testing.T) {
	var free atomic.Bool
	started := make(chan struct{})
	w := newWorld(t, withServer(func(*world) *mcp.Server {
		server := newServer(newTools())
		mcp.AddTool(server, &mcp.Tool{Name: "wait"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			close(started)
			for !free.Load() && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return nil, nil, ctx.Err()
		})
		return server
	}))
	p := w.connect(speaking(streamable.V20260728)) // has a handler for changed lists, so it listens
	called := make(chan error, 1)
	go func() {
		_, err := p.try("wait", nil)
		called <- err
	}()
	<-started
	drained := make(chan error, 1)
	go func() { drained <- w.now().handler.Drain(testContext(t)) }()
	eventually(t, "the drain to begin", w.now().handler.live.isClosed)
	free.Store(true)
	if err := <-called; err != nil {
		t.Errorf("the modern call: %v", err)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

// TestRequestsDuringADrainAreNever404: clients throw a session away at 404.
func TestRequestsDuringADrainAreNever404(t *testing.T) {
	for range 5 {
		w := newWorld(t, onMemory(memory.Options{}))
		c := w.raw().begin(streamable.V20251125)
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, body := range []string{pingBody, `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`} {
					if got := c.post(body); got.status >= 400 && got.status != 503 {
						t.Errorf("got %d %s", got.status, got.body)
					} else if got.status == 200 && !strings.Contains(got.body, `"result"`) {
						t.Errorf("a call without an answer: %q", got.body)
					}
				}
			}
		}()
		for range 3 {
			w.restart()
		}
		close(stop)
		<-done
	}
}

func TestCloseIsIdempotent(t *testing.T) {
	w := newWorld(t)
	w.raw().begin(streamable.V20251125)
	for range 3 {
		if err := w.now().handler.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := w.raw().post(initializeBody(streamable.V20251125)); got.status != 503 {
		t.Errorf("after Close: %d", got.status)
	}
}
