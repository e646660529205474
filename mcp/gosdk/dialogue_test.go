package gosdk

import (
	"context"
	"fmt"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

// everything runs through what a legacy session can do.
func everything(t *testing.T, w *world, p *peer) {
	t.Helper()
	if got := p.call("ask", nil)["answer"]; got != "Ada" {
		t.Errorf("elicitation: %v", got)
	}
	if got := p.call("sample", nil)["model"]; got != "test-model" {
		t.Errorf("sampling: %v", got)
	}
	p.note(func() { p.progress = nil })
	ctx := testContext(t)
	params := &mcp.CallToolParams{Name: "progress", Arguments: map[string]any{}}
	params.SetProgressToken("token")
	if _, err := p.cs.CallTool(ctx, params); err != nil {
		t.Errorf("progress: %v", err)
	}
	eventually(t, "progress", p.saw(func() bool { return fmt.Sprint(p.progress) == "[step 0 step 1 step 2]" }))
}

// streaming waits until the client's standalone stream is open.
func (w *world) streaming(p *peer) {
	w.t.Helper()
	eventually(w.t, "the standalone stream", func() bool {
		for _, l := range w.now().handler.live.all() {
			l.mu.Lock()
			open := l.streams > 0
			l.mu.Unlock()
			if open {
				return true
			}
		}
		return false
	})
}

func TestDialogueGoesOnAfterReactivation(t *testing.T) {
	for _, version := range []string{streamable.V20250618, streamable.V20251125} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t)
			p := w.connect(speaking(version))
			ctx := testContext(t)
			//lint:ignore SA1019 legacy
			if err := p.cs.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: "debug"}); err != nil {
				t.Fatal(err)
			}
			for _, uri := range []string{"note:///a", "note:///b"} {
				if err := p.cs.Subscribe(ctx, &mcp.SubscribeParams{URI: uri}); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.cs.Unsubscribe(ctx, &mcp.UnsubscribeParams{URI: "note:///b"}); err != nil {
				t.Fatal(err)
			}
			everything(t, w, p)

			w.kill()
			p.settle()
			everything(t, w, p)
			p.call("log", nil)
			eventually(t, "the log message", p.saw(func() bool { return p.logged == 1 }))

			w.streaming(p)
			for _, uri := range []string{"note:///b", "note:///a"} {
				if err := w.now().server.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: uri}); err != nil {
					t.Error(err)
				}
			}
			eventually(t, "the update", p.saw(func() bool { return len(p.updated) > 0 }))
			p.note(func() {
				if fmt.Sprint(p.updated) != "[note:///a]" {
					t.Errorf("updates: %v", p.updated)
				}
			})
			mcp.AddTool(w.now().server, &mcp.Tool{Name: "new"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
				return nil, nil, nil
			})
			eventually(t, "the changed list", p.saw(func() bool { return p.changed > 0 }))
		})
	}
}

func TestCancellationReachesTheTool(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	p.add("apple")
	w.restart()
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	go func() {
		_, err := p.cs.CallTool(ctx, &mcp.CallToolParams{Name: "slow", Arguments: item{"x"}})
		done <- err
	}()
	<-w.now().tools.started
	cancel()
	if err := <-done; err == nil {
		t.Error("a cancelled call succeeded")
	}
	l := w.now().handler.live.all()[0]
	eventually(t, "the end of the call", func() bool { return !l.running() })
}

func TestModernEraOnTheSameEndpoint(t *testing.T) {
	w := newWorld(t, withServer(func(*world) *mcp.Server {
		server := newServer(newTools())
		mcp.AddTool(server, &mcp.Tool{Name: "name"}, func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, map[string]any, error) {
			if _, ok := FromContext(ctx); ok {
				return nil, nil, fmt.Errorf("a modern request has a session")
			}
			res, ok := req.Params.InputResponses["name"].(*mcp.ElicitResult)
			if !ok {
				return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{
					"name": &mcp.ElicitParams{Message: "name?", RequestedSchema: map[string]any{
						"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}},
					}},
				}}, nil, nil
			}
			return nil, map[string]any{"answer": res.Content["name"]}, nil
		})
		return server
	}))
	modern := w.connect(speaking(streamable.V20260728))
	legacy := w.connect()
	if v := modern.cs.InitializeResult().ProtocolVersion; v != streamable.V20260728 {
		t.Fatalf("negotiated %s", v)
	}
	if modern.cs.ID() != "" || legacy.cs.ID() == "" {
		t.Errorf("session ids: modern %q, legacy given: %v", modern.cs.ID(), legacy.cs.ID() != "")
	}
	if got := modern.call("name", nil)["answer"]; got != "Ada" {
		t.Errorf("multi-round-trip elicitation: %v", got)
	}
	if got := modern.call("about", nil)["client"]; got != nil && got != "peer" {
		t.Errorf("client: %v", got)
	}
	legacy.add("apple")
	if _, err := modern.try("add", item{"pear"}); err == nil {
		t.Error("a modern request has a session")
	}
}
