package gosdk

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

func asJSON(o *Options) { o.JSONResponse = true }

func TestJSONResponses(t *testing.T) {
	w := newWorld(t, withOptions(asJSON))
	for _, version := range []string{streamable.V20250618, streamable.V20251125} {
		c := w.raw().begin(version)
		got := c.post(callBody(3, "add", `{"item":"a,\"b\""}`))
		if got.status != 200 || got.header.Get("Content-Type") != "application/json" || !json.Valid([]byte(got.body)) ||
			!strings.HasPrefix(got.body, `{"jsonrpc":"2.0","id":3,"result"`) {
			t.Errorf("%s: %d %s %s", version, got.status, got.header.Get("Content-Type"), got.body)
		}
	}
	old := w.raw().begin(streamable.V20250326)
	got := old.post(`[` + callBody(1, "add", `{"item":""}`) + `,` + callBody(2, "about", `{}`) + `]`)
	var batch []struct{ ID int }
	if err := json.Unmarshal([]byte(got.body), &batch); err != nil || len(batch) != 2 {
		t.Errorf("batch: %v %s", err, got.body)
	}
	if got := old.post(`[` + callBody(1, "add", `{"item":""}`) + `]`); !strings.HasPrefix(got.body, "[") {
		t.Errorf("batch of one: %s", got.body)
	}
	if got := old.post(`{"jsonrpc":"2.0","id":3,"method":"tools/call"}`); got.status != 400 || strings.Contains(got.header.Get("Content-Type"), "json") {
		t.Errorf("refusal: %d %s", got.status, got.header.Get("Content-Type"))
	}
}

// TestJSONDialogue: with JSON responses, what a tool sends besides its result
// goes to the standalone stream.
func TestJSONDialogue(t *testing.T) {
	w := newWorld(t, withOptions(asJSON))
	p := w.connect()
	w.streaming(p)
	if got := p.call("ask", nil)["answer"]; got != "Ada" {
		t.Errorf("elicitation: %v", got)
	}
	params := &mcp.CallToolParams{Name: "progress", Arguments: map[string]any{}}
	params.SetProgressToken("t")
	if _, err := p.cs.CallTool(context.Background(), params); err != nil {
		t.Fatal(err)
	}
	eventually(t, "progress", p.saw(func() bool { return fmt.Sprint(p.progress) == "[step 0 step 1 step 2]" }))
	modern := w.connect(speaking(streamable.V20260728))
	if got := modern.call("about", nil)["version"]; got != streamable.V20260728 {
		t.Errorf("modern: %v", got)
	}
}
