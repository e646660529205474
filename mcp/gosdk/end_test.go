package gosdk

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestDeleteEndsASessionAndItsStreams(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	open := c.stream()
	if got := c.do("DELETE", ""); got.status != 204 || got.body != "" {
		t.Fatalf("DELETE: %d %q", got.status, got.body)
	}
	open.ends()
	for _, method := range []string{"POST", "GET", "DELETE"} {
		if got := c.do(method, pingBody); got.status != 404 {
			t.Errorf("%s after DELETE: %d %q", method, got.status, got.body)
		}
	}
}

func TestRevocationFromElsewhereEndsStreamsAndRequests(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	open := c.stream()
	other := w.open() // as the command line does, in another process
	defer other.Close()
	operator, err := session.NewManager(other, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ref := w.now().handler.live.all()[0].ref
	if done, err := operator.Revoke(testContext(t), ref, state.ReasonRevoked, "operator"); err != nil || !done {
		t.Fatalf("revoke: %v %v", done, err)
	}
	if got := c.post(pingBody); got.status != 404 {
		t.Errorf("the next request: %d", got.status)
	}
	open.ends()
	if got := c.do("GET", ""); got.status != 404 {
		t.Errorf("the next stream: %d", got.status)
	}
	eventually(t, "the live session to go", func() bool { return len(w.now().handler.live.all()) == 0 })
}

func TestRevocationCancelsRunningCalls(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	done := make(chan error, 1)
	go func() {
		_, err := p.try("slow", item{"x"})
		done <- err
	}()
	<-w.now().tools.started
	ref := w.now().handler.live.all()[0].ref
	if _, err := w.now().manager.Revoke(testContext(t), ref, state.ReasonRevoked, "operator"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the call of a revoked session succeeded")
	}
	if _, err := p.try("add", item{"x"}); err == nil {
		t.Error("a revoked session goes on")
	}
}

func TestEndFromATool(t *testing.T) {
	w := newWorld(t, withServer(func(*world) *mcp.Server {
		server := mcp.NewServer(&mcp.Implementation{Name: "x", Version: "1"}, nil)
		mcp.AddTool(server, &mcp.Tool{Name: "leave"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			s, _ := FromContext(ctx)
			return nil, nil, s.End(ctx, state.ReasonLogout, "tool")
		})
		return server
	}))
	p := w.connect()
	_, _ = p.try("leave", nil)
	eventually(t, "the session to end", func() bool {
		_, err := p.try("leave", nil)
		return err != nil && errors.Is(err, mcp.ErrSessionMissing) || err != nil && strings.Contains(err.Error(), "session not found")
	})
}

// A hand is a clock that tests move.
type hand struct{ at atomic.Int64 }

func (h *hand) now() time.Time          { return time.Unix(1_800_000_000, h.at.Load()) }
func (h *hand) advance(d time.Duration) { h.at.Add(int64(d)) }

func TestExpiredSessionsAreGone(t *testing.T) {
	for name, policy := range map[string]session.Policy{
		"idle":     {IdleTimeout: time.Hour, TouchInterval: time.Minute, AbsoluteLifetime: 100 * time.Hour},
		"absolute": {IdleTimeout: time.Hour, TouchInterval: time.Minute, AbsoluteLifetime: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &hand{}
			w := newWorld(t, onMemory(memory.Options{Clock: clock.now}), withPolicy(policy))
			c := w.raw().begin(streamable.V20251125)
			if got := c.post(pingBody); got.status != 200 {
				t.Fatalf("before: %d", got.status)
			}
			clock.advance(2 * time.Hour)
			if got := c.post(pingBody); got.status != 404 {
				t.Errorf("after: %d", got.status)
			}
		})
	}
}

func TestOpenStreamsKeepASessionFromBecomingIdle(t *testing.T) {
	clock := &hand{}
	policy := session.Policy{IdleTimeout: time.Hour, TouchInterval: time.Minute, AbsoluteLifetime: 10 * time.Hour}
	w := newWorld(t, onMemory(memory.Options{Clock: clock.now}), withPolicy(policy))
	c := w.raw().begin(streamable.V20251125)
	open := c.stream()
	h := w.now().handler
	began := time.Now()
	// The keeper's time and the store's move together.
	for passed := time.Duration(0); passed < 5*time.Hour; passed += 30 * time.Minute {
		clock.advance(30 * time.Minute)
		h.tend(testContext(t), began.Add(passed+30*time.Minute))
	}
	if got := c.post(pingBody); got.status != 200 {
		t.Fatalf("a session with an open stream became idle: %d", got.status)
	}
	clock.advance(6 * time.Hour)
	h.tend(testContext(t), began.Add(11*time.Hour))
	open.ends() // its absolute lifetime is over
	if got := c.post(pingBody); got.status != 404 {
		t.Errorf("after the absolute lifetime: %d", got.status)
	}
}

func TestShortenedLifetimeEndsStreams(t *testing.T) {
	clock := &hand{}
	w := newWorld(t, onMemory(memory.Options{Clock: clock.now}))
	c := w.raw().begin(streamable.V20251125)
	open := c.stream()
	id, err := session.ParseID(c.header.Get("Mcp-Session-Id"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.now().manager.Extend(testContext(t), id, time.Minute); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute)
	h := w.now().handler
	eventually(t, "the keeper to see it", func() bool {
		h.tend(testContext(t), time.Now())
		return len(h.live.all()) == 0
	})
	open.ends()
}

func TestNobodyLearnsWhoseSessionItIs(t *testing.T) {
	w := newWorld(t, withOptions(byHeader))
	ada := w.raw().with("X-User", "ada").begin(streamable.V20251125)
	id := ada.header.Get("Mcp-Session-Id")
	ref, secret, _ := strings.Cut(id, ".")
	other := w.raw().with("X-User", "ada").begin(streamable.V20251125).header.Get("Mcp-Session-Id")
	otherRef, _, _ := strings.Cut(other, ".")

	for _, method := range []string{"POST", "GET", "DELETE"} {
		unknown := ada.with("Mcp-Session-Id", randomID(t)).do(method, pingBody)
		if unknown.status != 404 {
			t.Fatalf("%s of an unknown session: %d", method, unknown.status)
		}
		tests := map[string]*raw{
			"wrong user":        ada.with("X-User", "eve"),
			"no user":           ada.with("X-User", ""),
			"wrong secret":      ada.with("Mcp-Session-Id", ref+"."+secret[:len(secret)-2]+"AA"),
			"another's secret":  ada.with("Mcp-Session-Id", otherRef+"."+secret),
			"ref alone":         ada.with("Mcp-Session-Id", ref),
			"secret alone":      ada.with("Mcp-Session-Id", secret),
			"malformed":         ada.with("Mcp-Session-Id", "../../etc/passwd"),
			"long":              ada.with("Mcp-Session-Id", strings.Repeat("a", 10_000)),
			"long of the shape": ada.with("Mcp-Session-Id", ref+"."+strings.Repeat("a", 10_000)),
		}
		for name, c := range tests {
			got := c.do(method, pingBody)
			got.header.Del("Date")
			unknown.header.Del("Date")
			if fmt.Sprint(got) != fmt.Sprint(unknown) {
				t.Errorf("%s, %s: %v differs from %v", method, name, got, unknown)
			}
		}
	}
	if got := ada.post(pingBody); got.status != 200 {
		t.Errorf("the owner: %d", got.status)
	}
}

func randomID(t testing.TB) string {
	ref, err := state.NewRef(7, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	return ref.String() + "." + base64.RawURLEncoding.EncodeToString(secret[:])
}

func TestRandomIDsGrowNothing(t *testing.T) {
	w := newWorld(t, onMemory(memory.Options{}))
	c := w.raw()
	for range 10_000 {
		if got := c.with("Mcp-Session-Id", randomID(t)).post(pingBody); got.status != 404 {
			t.Fatalf("got %d", got.status)
		}
	}
	if n := len(w.now().handler.live.all()); n != 0 {
		t.Errorf("%d live sessions", n)
	}
	n, err := w.now().manager.Count(testContext(t), session.Query{})
	if err != nil || n != 0 {
		t.Errorf("%d records, %v", n, err)
	}
}

func TestPassivationAndTheNextCall(t *testing.T) {
	w := newWorld(t, withOptions(func(o *Options) { o.PassivateAfter = 20 * time.Millisecond }))
	p := w.connect(withoutStream)
	h := w.now().handler
	for i := range 5 {
		got := p.add(fmt.Sprint(i))
		if len(got["items"].([]any)) != i+1 {
			t.Fatalf("basket: %v", got)
		}
		eventually(t, "passivation", func() bool { return len(h.live.all()) == 0 })
		for range w.now().server.Sessions() {
			eventually(t, "the SDK to let go", func() bool {
				for range w.now().server.Sessions() {
					return false
				}
				return true
			})
		}
	}
	c := w.raw().begin(streamable.V20251125)
	open := c.stream()
	eventually(t, "some ticks", func() bool { h.tend(testContext(t), time.Now().Add(time.Hour)); return true })
	if len(h.live.all()) != 1 {
		t.Error("a session with an open stream was passivated")
	}
	_ = open.res.Body.Close()
	eventually(t, "passivation", func() bool { return len(h.live.all()) == 0 })
}

// TestRequestsRacingWithPassivation: a request is served by the session that is
// being put away, or by the next one; it is never lost and never 404.
func TestRequestsRacingWithPassivation(t *testing.T) {
	w := newWorld(t, onMemory(memory.Options{}), withOptions(func(o *Options) { o.PassivateAfter = time.Nanosecond }))
	c := w.raw().begin(streamable.V20251125)
	h := w.now().handler
	stop := make(chan struct{})
	var keeper sync.WaitGroup
	keeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				h.tend(context.Background(), time.Now().Add(time.Second))
			}
		}
	})
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() {
			for i := range 50 {
				got := c.post(callBody(n*1000+i, "add", fmt.Sprintf(`{"item":"%d-%d"}`, n, i)))
				if got.status != 200 || !strings.Contains(got.body, "structuredContent") {
					t.Errorf("got %d %s", got.status, got.body)
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	keeper.Wait()
	var out []string
	for s, err := range w.now().manager.List(testContext(t), session.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get("items", &out); err != nil {
			t.Fatal(err)
		}
	}
	if len(out) != 400 {
		t.Errorf("%d items, want 400", len(out))
	}
}

func TestRacingRequestsActivateOnce(t *testing.T) {
	var connected atomic.Int64
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	w.restart()
	h := w.now().handler
	getServer := h.getServer
	h.getServer = func(r *http.Request) *mcp.Server {
		connected.Add(1)
		return getServer(r)
	}
	var clients sync.WaitGroup
	for n := range 20 {
		clients.Go(func() {
			if got := c.post(callBody(n, "add", `{"item":"x"}`)); got.status != 200 {
				t.Errorf("got %d", got.status)
			}
		})
	}
	clients.Wait()
	if n := connected.Load(); n != 1 {
		t.Errorf("%d activations", n)
	}
}
