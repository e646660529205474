package gosdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/store/sqlite"
)

// patience bounds waiting for what must happen.
const patience = 20 * time.Second

// eventually waits for the condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

// backing is both stores in one.
type backing interface {
	state.Store
	state.EventStore
}

// A world is an HTTP server at one address, whose handler and store may be
// started anew while clients go on.
type world struct {
	t        testing.TB
	web      *httptest.Server
	secrets  testkit.Secrets
	open     func() backing
	policy   session.Policy
	opts     Options
	noEvents bool
	build    func(*world) *mcp.Server // nil: newServer

	current atomic.Pointer[process]
	all     []*process
}

// A process is what dies with a process.
type process struct {
	store   backing
	manager *session.Manager
	server  *mcp.Server
	handler *Handler
	tools   *tools
}

type worldOption func(*world)

func onMemory(opts memory.Options) worldOption {
	return func(w *world) {
		store := memory.New(opts)
		w.t.Cleanup(func() { _ = store.Close() })
		w.open = func() backing { return keptOpen{store} }
	}
}

func withOptions(f func(*Options)) worldOption { return func(w *world) { f(&w.opts) } }

func withPolicy(p session.Policy) worldOption { return func(w *world) { w.policy = p } }

func withServer(f func(*world) *mcp.Server) worldOption { return func(w *world) { w.build = f } }

// keptOpen is a store in memory, which outlives its process in tests.
type keptOpen struct{ *memory.Store }

func (keptOpen) Close() error { return nil }

// newWorld starts a server on a SQLite file of its own.
func newWorld(t testing.TB, options ...worldOption) *world {
	t.Helper()
	w := &world{t: t}
	path := filepath.Join(t.TempDir(), "sessions.db")
	w.open = func() backing {
		store, err := sqlite.Open(context.Background(), path, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	for _, o := range options {
		o(w)
	}
	if w.opts.Logger == nil {
		w.opts.Logger = logTo(w.secrets.Log(t))
	}
	w.web = httptest.NewServer(w.secrets.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.now().handler.ServeHTTP(rw, r)
	})))
	w.start()
	t.Cleanup(func() {
		for _, p := range w.all {
			if err := p.handler.Close(); err != nil {
				t.Errorf("close handler: %v", err)
			}
		}
		w.web.Close()
		for _, p := range w.all {
			_ = p.store.Close()
		}
	})
	return w
}

func (w *world) now() *process { return w.current.Load() }

// start begins a new process.
func (w *world) start() {
	w.t.Helper()
	p := &process{store: w.open(), tools: newTools()}
	var err error
	if p.manager, err = session.NewManager(p.store, session.Options{Policy: w.policy}); err != nil {
		w.t.Fatal(err)
	}
	opts := w.opts
	if !w.noEvents {
		opts.Events = p.store
	}
	w.all = append(w.all, p)
	build := w.build
	if build == nil {
		build = func(*world) *mcp.Server { return newServer(p.tools) }
	}
	p.server = build(w)
	if p.handler, err = NewHandler(func(*http.Request) *mcp.Server { return p.server }, p.manager, &opts); err != nil {
		w.t.Fatal(err)
	}
	w.current.Store(p)
}

// restart drains the process and starts another on the same store.
func (w *world) restart() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	old := w.now()
	if err := old.handler.Drain(ctx); err != nil {
		w.t.Fatalf("drain: %v", err)
	}
	w.start()
	old.tools.release()
}

// kill stops a process without a word: what it has not stored is lost. Another
// takes its place at the same moment.
func (w *world) kill() {
	w.t.Helper()
	old := w.now()
	for _, l := range old.handler.live.all() {
		l.events.stop()
	}
	w.start()
	w.web.CloseClientConnections()
	for _, l := range old.handler.live.all() {
		if l.closeIf(always) {
			old.handler.close(l)
		}
	}
	old.tools.release()
}

// tools is what the test's tools share with the test.
type tools struct {
	started chan string   // a slow call has begun
	freed   chan struct{} // closed: slow calls end
	once    sync.Once
}

func newTools() *tools {
	return &tools{started: make(chan string, 100), freed: make(chan struct{})}
}

func (t *tools) release() { t.once.Do(func() { close(t.freed) }) }

type item struct {
	Item string `json:"item"`
}

type basket struct {
	Items       []string `json:"items"`
	Reactivated bool     `json:"reactivated"`
	Ref         string   `json:"ref"`
	User        string   `json:"user"`
}

var errNoSession = errors.New("no session in the context")

// newServer has a tool for each thing that must survive.
func newServer(shared *tools) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ServerOptions{
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	})
	server.AddResource(&mcp.Resource{URI: "note:///a", Name: "a"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "note:///a", Text: "x"}}}, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "add"}, func(ctx context.Context, req *mcp.CallToolRequest, in item) (*mcp.CallToolResult, basket, error) {
		s, ok := FromContext(ctx)
		if !ok {
			return nil, basket{}, errNoSession
		}
		out := basket{Reactivated: s.Reactivated(), Ref: s.Ref().String(), User: s.User()}
		err := s.Update(ctx, func(snapshot *session.Session) error {
			out.Items = nil
			if _, err := snapshot.Get("items", &out.Items); err != nil {
				return err
			}
			if in.Item != "" {
				out.Items = append(out.Items, in.Item)
			}
			return snapshot.Set("items", out.Items)
		})
		if out.Items == nil {
			out.Items = []string{}
		}
		return nil, out, err
	})
	mcp.AddTool(server, &mcp.Tool{Name: "about"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, map[string]any, error) {
		p := req.Session.InitializeParams()
		out := map[string]any{"id": req.Session.ID(), "header": req.Extra.Header.Get("Mcp-Session-Id"), "version": req.ProtocolVersion()}
		if p != nil && p.ClientInfo != nil {
			out["client"] = p.ClientInfo.Name
			out["elicits"] = p.Capabilities.Elicitation != nil
			//lint:ignore SA1019 legacy
			out["roots"] = p.Capabilities.RootsV2 != nil
		}
		return nil, out, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "ask"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, map[string]any, error) {
		res, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: "name?"})
		if err != nil {
			return nil, nil, err
		}
		return nil, map[string]any{"answer": res.Content["name"]}, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "sample"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, map[string]any, error) {
		//lint:ignore SA1019 legacy
		res, err := req.Session.CreateMessage(ctx, &mcp.CreateMessageParams{MaxTokens: 1})
		if err != nil {
			return nil, nil, err
		}
		return nil, map[string]any{"model": res.Model}, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "progress"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, map[string]any, error) {
		for i := range 3 {
			err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
				ProgressToken: req.Params.GetProgressToken(), Message: fmt.Sprint("step ", i), Progress: float64(i),
			})
			if err != nil {
				return nil, nil, err
			}
		}
		return nil, map[string]any{"done": true}, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "slow"}, func(ctx context.Context, req *mcp.CallToolRequest, in item) (*mcp.CallToolResult, map[string]any, error) {
		shared.started <- in.Item
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-shared.freed:
			return nil, map[string]any{"done": in.Item}, nil
		}
	})
	mcp.AddTool(server, &mcp.Tool{Name: "log"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, map[string]any, error) {
		//lint:ignore SA1019 legacy
		err := req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: "hello"})
		return nil, map[string]any{}, err
	})
	return server
}

// A peer is a client of the SDK's with a memory of what it was told.
type peer struct {
	t  testing.TB
	cs *mcp.ClientSession

	mu       sync.Mutex
	progress []string
	updated  []string
	logged   int
	changed  int
}

type peerOption func(*mcp.ClientOptions, *mcp.StreamableClientTransport, *mcp.ClientSessionOptions)

func speaking(version string) peerOption {
	return func(_ *mcp.ClientOptions, _ *mcp.StreamableClientTransport, o *mcp.ClientSessionOptions) {
		o.ProtocolVersion = version
	}
}

func withoutStream(_ *mcp.ClientOptions, tr *mcp.StreamableClientTransport, _ *mcp.ClientSessionOptions) {
	tr.DisableStandaloneSSE = true
}

// byHeader is a principal for tests: whoever the client says it is.
func byHeader(o *Options) {
	o.Principal = func(r *http.Request) (string, error) { return r.Header.Get("X-User"), nil }
}

// connect connects a client of the legacy era.
func (w *world) connect(options ...peerOption) *peer {
	w.t.Helper()
	p := &peer{t: w.t}
	tr := &mcp.StreamableClientTransport{Endpoint: w.web.URL}
	so := &mcp.ClientSessionOptions{ProtocolVersion: streamable.V20251125}
	o := &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada"}}, nil
		},
		//lint:ignore SA1019 legacy
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			//lint:ignore SA1019 legacy
			return &mcp.CreateMessageResult{Model: "test-model", Role: "assistant", Content: &mcp.TextContent{Text: "x"}}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			p.note(func() { p.progress = append(p.progress, r.Params.Message) })
		},
		ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) {
			p.note(func() { p.updated = append(p.updated, r.Params.URI) })
		},
		//lint:ignore SA1019 legacy
		LoggingMessageHandler: func(context.Context, *mcp.LoggingMessageRequest) { p.note(func() { p.logged++ }) },
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) {
			p.note(func() { p.changed++ })
		},
	}
	for _, option := range options {
		option(o, tr, so)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "peer", Version: "1"}, o)
	cs, err := client.Connect(context.Background(), tr, so)
	if err != nil {
		w.t.Fatalf("connect: %v", err)
	}
	p.cs = cs
	w.t.Cleanup(func() { _ = cs.Close() })
	return p
}

func (p *peer) note(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *peer) saw(f func() bool) func() bool {
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return f()
	}
}

// try calls a tool and returns its structured result.
func (p *peer) try(name string, args any) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if args == nil {
		args = map[string]any{}
	}
	res, err := p.cs.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		return nil, err
	}
	if res.IsError {
		return nil, fmt.Errorf("tool error: %s", res.Content[0].(*mcp.TextContent).Text)
	}
	out, _ := res.StructuredContent.(map[string]any)
	return out, nil
}

func (p *peer) call(name string, args any) map[string]any {
	p.t.Helper()
	out, err := p.try(name, args)
	if err != nil {
		p.t.Fatalf("call %s: %v", name, err)
	}
	return out
}

func (p *peer) add(thing string) map[string]any { return p.call("add", item{thing}) }

// settle asks until there is an answer: the first request on a connection that
// was cut fails, as after a real crash.
func (p *peer) settle() {
	p.t.Helper()
	eventually(p.t, "an answer after the crash", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return p.cs.Ping(ctx, nil) == nil
	})
}

func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func discardLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
