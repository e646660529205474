package gosdk_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// A server counts for each client, is started anew, and goes on counting. The
// store is in memory here, so it stays; with store/sqlite the whole process
// may go.
func Example() {
	store := memory.New(memory.Options{})
	defer store.Close()

	// What a process does when it starts.
	start := func() *gosdk.Handler {
		manager, err := session.NewManager(store, session.Options{})
		if err != nil {
			log.Fatal(err)
		}
		server := mcp.NewServer(&mcp.Implementation{Name: "counter", Version: "1.0.0"}, nil)
		mcp.AddTool(server, &mcp.Tool{Name: "count"}, count)
		handler, err := gosdk.NewHandler(
			func(*http.Request) *mcp.Server { return server },
			manager, &gosdk.Options{Events: store})
		if err != nil {
			log.Fatal(err)
		}
		return handler
	}
	var handler atomic.Pointer[gosdk.Handler]
	handler.Store(start())
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.Load().ServeHTTP(w, r)
	}))
	defer web.Close()

	ctx := context.Background()
	client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1.0.0"}, nil)
	cs, err := client.Connect(ctx,
		&mcp.StreamableClientTransport{Endpoint: web.URL, DisableStandaloneSSE: true},
		&mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		log.Fatal(err)
	}
	defer cs.Close()
	call := func() {
		res, err := cs.CallTool(ctx, &mcp.CallToolParams{Name: "count"})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(res.Content[0].(*mcp.TextContent).Text)
	}
	call()
	call()

	// A deploy: the old process drains, the new one goes on.
	if err := handler.Load().Drain(ctx); err != nil {
		log.Fatal(err)
	}
	_ = handler.Load().Close()
	handler.Store(start())
	defer func() { _ = handler.Load().Close() }()
	call()
	// Output:
	// count 1, in the process of its first call
	// count 2, in the process of its first call
	// count 3, after a restart
}

func count(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
	s, ok := gosdk.FromContext(ctx)
	if !ok {
		return nil, nil, fmt.Errorf("connect with a revision that has sessions")
	}
	var n int
	err := s.Update(ctx, func(snapshot *session.Session) error {
		n = 0
		if _, err := snapshot.Get("count", &n); err != nil {
			return err
		}
		n++
		return snapshot.Set("count", n)
	})
	if err != nil {
		return nil, nil, err
	}
	where := "in the process of its first call"
	if s.Reactivated() {
		where = "after a restart"
	}
	text := fmt.Sprintf("count %d, %s", n, where)
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
}
