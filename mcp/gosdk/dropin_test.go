package gosdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// What the SDK's own tests of its handler check from outside.

func TestRefusalsOfTheTransport(t *testing.T) {
	w := newWorld(t, withOptions(func(o *Options) { o.MaxRequestBodyBytes = 10_000 }))
	fresh := w.raw()
	c := fresh.begin(streamable.V20250618)
	old := fresh.begin(streamable.V20250326)
	tool := callBody(2, "add", `{"item":""}`)
	batch := `[` + callBody(201, "add", `{"item":""}`) + `,{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}]`
	tests := []struct {
		name, method string
		c            *raw
		body         string
		want         int
		contains     string
	}{
		{"PUT", "PUT", c, "", 405, ""},
		{"HEAD", "HEAD", c, "", 405, ""},
		{"GET without a session", "GET", fresh, "", 400, "Mcp-Session-Id"},
		{"DELETE without a session", "DELETE", fresh, "", 400, "Mcp-Session-Id"},
		{"call without a session", "POST", fresh, tool, 400, "Mcp-Session-Id"},
		{"notification without a session", "POST", fresh, initializedBody, 400, ""},
		{"no method", "POST", fresh, `{"jsonrpc":"2.0","id":1,"method":"notamethod"}`, 400, ""},
		{"GET without event-stream", "GET", c.with("Accept", "application/json"), "", 400, "event-stream"},
		{"text/plain", "POST", c.with("Content-Type", "text/plain"), tool, 415, ""},
		{"no content type", "POST", c.with("Content-Type", ""), tool, 415, ""},
		{"charset", "POST", c.with("Content-Type", "application/json; charset=utf-8"), tool, 200, ""},
		{"only json accepted", "POST", c.with("Accept", "application/json"), tool, 400, ""},
		{"only streams accepted", "POST", c.with("Accept", "text/event-stream"), tool, 400, ""},
		{"everything accepted", "POST", c.with("Accept", "text/plain, */*"), tool, 200, ""},
		{"unknown revision", "POST", c.with("MCP-Protocol-Version", "2025-01-01"), tool, 400, "2025-03-26"},
		{"batch on 2025-06-18", "POST", c, batch, 400, "batch"},
		{"batch on 2025-03-26", "POST", old, batch, 200, `"id":201`},
		{"batch of one", "POST", old, `[` + callBody(5, "add", `{"item":""}`) + `]`, 200, `"id":5`},
		{"empty batch", "POST", old, `[]`, 400, ""},
		{"initialize in a batch", "POST", fresh, `[` + initializeBody("2025-03-26") + `]`, 400, ""},
		{"call without an id", "POST", c, `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"add"}}`, 400, ""},
		{"no JSON", "POST", c, `{"jsonrpc":`, 400, ""},
		{"no JSON and no session", "POST", fresh, `nope`, 400, ""},
		{"empty", "POST", c, ``, 400, "non-empty"},
		{"too large", "POST", c, `"` + strings.Repeat("x", 10_000) + `"`, 413, "10000"},
		{"too large without a session", "POST", fresh, `"` + strings.Repeat("x", 10_000) + `"`, 413, "10000"},
		{"server/discover of old", "POST", c, `{"jsonrpc":"2.0","id":9,"method":"server/discover","params":{}}`, 200, "-32601"},
		{"modern meta with a session", "POST", c, `{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, 400, "-32022"},
		{"modern meta without header", "POST", fresh, `{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, 400, "-32020"},
		{"second initialize", "POST", c, initializeBody("2025-06-18"), 200, "duplicate"},
		{"initialize without params", "POST", fresh, `{"jsonrpc":"2.0","id":1,"method":"initialize"}`, 400, ""},
		{"initialize with odd params", "POST", fresh, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":[1]}`, 200, `"error"`},
		{"initialize as a notification", "POST", fresh, `{"jsonrpc":"2.0","method":"initialize","params":{}}`, 400, ""},
		{"initialize with U+0000", "POST", fresh, strings.Replace(initializeBody("2025-06-18"), `"raw"`, `"ra\u0000w"`, 1), 400, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.c.do(tt.method, tt.body)
			if got.status != tt.want || !strings.Contains(got.body, tt.contains) {
				t.Errorf("got %d %s, want %d with %q", got.status, got.body, tt.want, tt.contains)
			}
			if id := got.header.Get("Mcp-Session-Id"); id != "" {
				t.Error("the response names a session")
			}
			if tt.want == 405 && got.header.Get("Allow") != "GET, POST, DELETE" {
				t.Errorf("Allow: %q", got.header.Get("Allow"))
			}
		})
	}
	if n, err := w.now().manager.Count(testContext(t), session.Query{}); err != nil || n != 2 {
		t.Errorf("%d sessions, %v: a refused request made one", n, err)
	}
}

func TestDuplicateHeadersAreRefused(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20250618)
	for _, name := range []string{"Mcp-Session-Id", "Mcp-Protocol-Version"} {
		d := *c
		d.header = c.header.Clone()
		d.header.Add(name, d.header.Get(name))
		if got := d.post(pingBody); got.status != 400 {
			t.Errorf("%s twice: %d", name, got.status)
		}
	}
}

func TestHostAndOriginAreCheckedByDefault(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	own := strings.TrimPrefix(w.web.URL, "http://")
	tests := []struct {
		header, value string
		want          int
	}{
		{"X-Host", "evil.example", 403},
		{"X-Host", "localhost", 200},
		{"Origin", "http://evil.example", 403},
		{"Origin", "null", 403},
		{"Origin", "http://" + own, 200},
	}
	for _, tt := range tests {
		if got := c.with(tt.header, tt.value).post(pingBody); got.status != tt.want {
			t.Errorf("%s %s: %d", tt.header, tt.value, got.status)
		}
	}
	modern := w.raw().with("MCP-Protocol-Version", streamable.V20260728).with("Origin", "http://evil.example")
	if got := modern.post(pingBody); got.status != 403 {
		t.Errorf("modern: %d", got.status)
	}
}

func TestDuplicateInFlightRequestID(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	go func() { c.open("POST", callBody(7, "slow", `{"item":"x"}`)) }()
	<-w.now().tools.started
	if got := c.post(callBody(7, "add", `{"item":""}`)); got.status != 400 || !strings.Contains(got.body, "duplicate") {
		t.Errorf("got %d %s", got.status, got.body)
	}
	w.now().tools.release()
	w.alone()
	if got := c.post(callBody(7, "add", `{"item":""}`)); got.status != 200 {
		t.Errorf("the id cannot be used again: %d %s", got.status, got.body)
	}
}

func TestNarrowedRevisions(t *testing.T) {
	w := newWorld(t, withServer(func(*world) *mcp.Server {
		return mcp.NewServer(&mcp.Implementation{Name: "x", Version: "1"}, &mcp.ServerOptions{
			SupportedProtocolVersions: []string{streamable.V20250618},
		})
	}))
	got := w.raw().post(initializeBody(streamable.V20251125))
	if !strings.Contains(got.body, `"protocolVersion":"2025-06-18"`) {
		t.Fatalf("initialize: %s", got.body)
	}
	c := w.raw().with("Mcp-Session-Id", got.header.Get("Mcp-Session-Id"))
	if got := c.with("MCP-Protocol-Version", streamable.V20251125).post(pingBody); got.status != 400 || !strings.Contains(got.body, "2025-06-18") {
		t.Errorf("a revision the server does not speak: %d %s", got.status, got.body)
	}
	if got := c.with("MCP-Protocol-Version", streamable.V20250618).post(pingBody); got.status != 200 {
		t.Errorf("the negotiated revision: %d", got.status)
	}
	l := w.now().handler.live.all()[0]
	s, err := w.now().manager.Lookup(testContext(t), l.ref)
	if err != nil || s.Metadata.ProtocolVersion != streamable.V20250618 || s.Version != 1 {
		t.Errorf("stored: %q at version %d, %v", s.Metadata.ProtocolVersion, s.Version, err)
	}
}

func TestARefusedInitializeLeavesNothing(t *testing.T) {
	w := newWorld(t, withServer(func(*world) *mcp.Server {
		server := newServer(newTools())
		server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
			return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
				if method == "initialize" {
					return nil, errors.New("not today")
				}
				return next(ctx, method, req)
			}
		})
		return server
	}))
	got := w.raw().post(initializeBody(streamable.V20251125))
	if got.status != 200 || !strings.Contains(got.body, "not today") || got.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("got %d, id given: %v, %s", got.status, got.header.Get("Mcp-Session-Id") != "", got.body)
	}
	eventually(t, "the session to be gone", func() bool {
		n, err := w.now().manager.Count(testContext(t), session.Query{})
		return err == nil && n == 0 && len(w.now().handler.live.all()) == 0
	})
}

func TestNoServerIsABadRequest(t *testing.T) {
	w := newWorld(t)
	c := w.raw().begin(streamable.V20251125)
	w.restart()
	w.now().handler.getServer = func(*http.Request) *mcp.Server { return nil }
	if got := c.post(pingBody); got.status != 400 {
		t.Errorf("activation: %d", got.status)
	}
	if got := w.raw().post(initializeBody(streamable.V20251125)); got.status != 400 {
		t.Errorf("initialize: %d", got.status)
	}
	if n := len(w.now().handler.live.all()); n != 0 {
		t.Errorf("%d live sessions are left", n)
	}
}

func TestTheSecretStaysAtTheFront(t *testing.T) {
	var logs syncBuffer
	logger := slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w := newWorld(t, withOptions(func(o *Options) { o.Logger = logger }), withServer(func(w *world) *mcp.Server {
		server := newServer(newTools())
		server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
			return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
				logger.Info("received", "method", method, "session", req.GetSession().ID(), "extra", fmt.Sprintf("%+v", req.GetExtra()))
				return next(ctx, method, req)
			}
		})
		return server
	}))
	p := w.connect()
	id, err := session.ParseID(p.cs.ID())
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(p.cs.ID(), ".")
	w.restart()
	got := p.call("about", nil)
	if got["id"] != id.Ref().String() || got["header"] != id.Ref().String() {
		t.Errorf("a tool sees %v", got)
	}
	if p.add("x")["ref"] != id.Ref().String() {
		t.Error("FromContext has another ref")
	}
	if text := logs.String(); strings.Contains(text, secret) || !strings.Contains(text, id.Ref().String()) {
		t.Error("the logs have the secret, or lack the ref")
	}
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

type echoParams struct {
	mcp.ParamsBase
	Text string `json:"text"`
}

type echoResult struct {
	mcp.ResultBase
	Text string `json:"text"`
}

func TestCustomMethods(t *testing.T) {
	w := newWorld(t, withServer(func(*world) *mcp.Server {
		server := newServer(newTools())
		err := mcp.AddReceivingCustomMethod(server, "acme/echo", func(_ context.Context, _ *mcp.ServerSession, p *echoParams) (*echoResult, error) {
			return &echoResult{Text: p.Text}, nil
		})
		if err != nil {
			panic(err)
		}
		return server
	}))
	c := w.raw().begin(streamable.V20251125)
	if got := c.post(`{"jsonrpc":"2.0","id":1,"method":"acme/echo","params":{"text":"hi"}}`); got.status != 200 || !strings.Contains(got.body, `"text":"hi"`) {
		t.Errorf("custom method: %d %s", got.status, got.body)
	}
	if got := c.post(`{"jsonrpc":"2.0","id":1,"method":"acme/nothing","params":{}}`); got.status != 200 || !strings.Contains(got.body, "-32601") {
		t.Errorf("unknown method: %d %s", got.status, got.body)
	}
	if got := c.with("coatcheck-method", "acme/echo").post(pingBody); got.status != 200 || strings.Contains(got.body, "text") {
		t.Errorf("a client chose the method by a header: %s", got.body)
	}
}

func TestInitializedRunsOnce(t *testing.T) {
	var ran atomic.Int64
	w := newWorld(t, withServer(func(*world) *mcp.Server {
		return mcp.NewServer(&mcp.Implementation{Name: "x", Version: "1"}, &mcp.ServerOptions{
			InitializedHandler: func(context.Context, *mcp.InitializedRequest) { ran.Add(1) },
		})
	}))
	c := w.raw().begin(streamable.V20251125)
	for range 2 {
		if got := c.post(pingBody); got.status != 200 {
			t.Fatal(got)
		}
		w.restart()
	}
	eventually(t, "the handler to run", func() bool { return ran.Load() > 0 })
	if got := c.post(pingBody); got.status != 200 || ran.Load() != 1 {
		t.Errorf("%d, ran %d times", got.status, ran.Load())
	}
}

// TestServersThatCloseTheirSessionsToShutDown: what is closed in the SDK is
// not ended.
func TestServersThatCloseTheirSessionsToShutDown(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	p.add("apple")
	for s := range w.now().server.Sessions() {
		_ = s.Close()
	}
	got := p.add("pear")
	if fmt.Sprint(got["items"]) != "[apple pear]" || got["reactivated"] != true {
		t.Errorf("basket: %v", got)
	}
}

func TestStaleAnswersAreNotTaken(t *testing.T) {
	w := newWorld(t)
	body := strings.Replace(initializeBody(streamable.V20251125), `"capabilities":{}`, `"capabilities":{"elicitation":{}}`, 1)
	c := w.raw()
	c = c.with("Mcp-Session-Id", c.post(body).header.Get("Mcp-Session-Id")).with("MCP-Protocol-Version", streamable.V20251125)
	ask := func(id int) (*sse, string) {
		s := c.listen(c.open("POST", callBody(id, "ask", `{}`)))
		for {
			data, ok := s.next("data: ")
			if !ok {
				t.Fatal("no question")
			}
			var q struct {
				ID     json.Number
				Method string
			}
			if json.Unmarshal([]byte(data), &q) == nil && q.Method == "elicitation/create" {
				return s, q.ID.String()
			}
		}
	}
	answer := func(id, name string) reply {
		return c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"name":%q}}}`, id, name))
	}
	_, first := ask(1)
	w.kill()
	eventually(t, "the server", func() bool { return c.post(pingBody).status == 200 })
	stream, second := ask(2)
	if first == second {
		t.Fatal("questions of two activations have the same id")
	}
	for _, id := range []string{first, "1", "2", `"1"`, "-1", "1.5"} {
		if got := answer(id, "Eve"); got.status != 202 {
			t.Errorf("a stale answer: %d", got.status)
		}
	}
	if got := answer(second, "Ada"); got.status != 202 {
		t.Errorf("the answer: %d", got.status)
	}
	stream.hears(t, `"structuredContent":{"answer":"Ada"}`)
	if got := answer(second, "Eve"); got.status != 202 {
		t.Errorf("a second answer: %d", got.status)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t, withOptions(func(o *Options) { o.MaxLive = 1 }), withPolicy(session.Policy{MaxTotal: 2}))
	c := w.raw()
	if got := c.post(initializeBody(streamable.V20251125)); got.status != 200 {
		t.Fatal(got)
	}
	if got := c.post(initializeBody(streamable.V20251125)); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("over MaxLive: %d", got.status)
	}
	if n, _ := w.now().manager.Count(testContext(t), session.Query{}); n != 1 {
		t.Errorf("%d sessions: the refused one is left", n)
	}
	w.restart()
	for range 1 {
		if _, err := w.now().manager.Create(testContext(t), session.CreateRequest{Metadata: state.Metadata{}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.post(initializeBody(streamable.V20251125)); got.status != 503 {
		t.Errorf("over the policy's total: %d", got.status)
	}
	huge := strings.Replace(initializeBody(streamable.V20251125), `"raw"`, `"`+strings.Repeat("x", state.MaxRecordBytes)+`"`, 1)
	if got := c.post(huge); got.status != 413 {
		t.Errorf("a huge initialize: %d", got.status)
	}
}
