package everything_test

import (
	"context"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/internal/sample/everything"
)

// The scenarios themselves run in package e2e, against the binary.

func connect(t *testing.T) *mcp.ClientSession {
	t.Helper()
	server, err := everything.New("test")
	if err != nil {
		t.Fatal(err)
	}
	here, there := mcp.NewInMemoryTransports()
	ss, err := server.Connect(t.Context(), there, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada", "color": "blue"}}, nil
		},
	})
	cs, err := client.Connect(t.Context(), here, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cs.Close(); err != nil {
			t.Error(err)
		}
		if err := ss.Wait(); err != nil {
			t.Error(err)
		}
	})
	return cs
}

func TestEveryListedThingHasADescription(t *testing.T) {
	cs := connect(t)
	n := 0
	for tool, err := range cs.Tools(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; tool.Description == "" {
			t.Errorf("tool %s has none", tool.Name)
		}
	}
	for prompt, err := range cs.Prompts(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; prompt.Description == "" {
			t.Errorf("prompt %s has none", prompt.Name)
		}
	}
	if n < 30 {
		t.Errorf("only %d tools and prompts", n)
	}
}

func TestRequestStateIsSealedOverRounds(t *testing.T) {
	cs := connect(t)
	const tool = "test_input_required_result_multi_round"
	res, err := cs.CallTool(t.Context(), &mcp.CallToolParams{Name: tool})
	if err != nil {
		t.Fatal(err)
	}
	if text := res.Content[0].(*mcp.TextContent).Text; text != "Ada likes blue" {
		t.Errorf("got %q", text)
	}
	for _, state := range []string{"first", "first.00", "second 41646.00"} {
		if res, err := cs.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, RequestState: state}); err == nil {
			t.Errorf("state %q was accepted: %+v", state, res)
		}
	}
}
