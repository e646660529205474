//lint:file-ignore SA1019 the conformance suite tests what 2026-07-28 deprecates

package everything

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type (
	noInput = map[string]any
	handler = mcp.ToolHandlerFor[noInput, any]
)

func tool(s *mcp.Server, name string, h handler) {
	mcp.AddTool(s, &mcp.Tool{Name: name, Description: "For the conformance suite.", InputSchema: json.RawMessage(`{"type":"object"}`)}, h)
}

func says(format string, args ...any) *mcp.CallToolResult {
	return with(&mcp.TextContent{Text: fmt.Sprintf(format, args...)})
}

func with(content ...mcp.Content) *mcp.CallToolResult { return &mcp.CallToolResult{Content: content} }

func fixed(res *mcp.CallToolResult) handler {
	return func(context.Context, *mcp.CallToolRequest, noInput) (*mcp.CallToolResult, any, error) {
		again := *res
		return &again, nil, nil
	}
}

func addContentTools(s *mcp.Server, m media) {
	picture := &mcp.ImageContent{Data: m.png, MIMEType: "image/png"}
	embedded := func(uri string) mcp.Content {
		return &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: uri, MIMEType: "text/plain", Text: "embedded"}}
	}
	tool(s, "test_simple_text", fixed(says("This is a simple text response for testing.")))
	tool(s, "test_image_content", fixed(with(picture)))
	tool(s, "test_audio_content", fixed(with(&mcp.AudioContent{Data: m.wav, MIMEType: "audio/wav"})))
	tool(s, "test_embedded_resource", fixed(with(embedded("test://embedded-resource"))))
	tool(s, "test_multiple_content_types", fixed(with(&mcp.TextContent{Text: "mixed"}, picture, embedded("test://mixed-content-resource"))))
	tool(s, "test_error_handling", func(context.Context, *mcp.CallToolRequest, noInput) (*mcp.CallToolResult, any, error) {
		return nil, nil, errors.New("this tool intentionally returns an error for testing")
	})
}

func addNotifyingTools(s *mcp.Server) {
	logs := func(ctx context.Context, req *mcp.CallToolRequest, lines ...string) error {
		for _, line := range lines {
			if err := req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: line}); err != nil {
				return err
			}
		}
		return nil
	}
	tool(s, "test_tool_with_logging", func(ctx context.Context, req *mcp.CallToolRequest, _ noInput) (*mcp.CallToolResult, any, error) {
		return says("logged"), nil, logs(ctx, req, "Tool execution started", "Tool processing data", "Tool execution completed")
	})
	tool(s, "test_logging_tool", func(ctx context.Context, req *mcp.CallToolRequest, _ noInput) (*mcp.CallToolResult, any, error) {
		return says("logged if wanted"), nil, logs(ctx, req, "test_logging_tool executed")
	})
	tool(s, "test_tool_with_progress", func(ctx context.Context, req *mcp.CallToolRequest, _ noInput) (*mcp.CallToolResult, any, error) {
		for _, done := range []float64{0, 50, 100} {
			err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: done, Total: 100})
			if err != nil {
				return nil, nil, err
			}
		}
		return says("%v", req.Params.GetProgressToken()), nil, nil
	})
	tool(s, "test_streaming_elicitation", fixed(says("only this")))
	// The client comes back for the rest, and finds it whether it was sent
	// before or after it did.
	tool(s, "test_reconnection", func(ctx context.Context, req *mcp.CallToolRequest, _ noInput) (*mcp.CallToolResult, any, error) {
		if req.Extra != nil && req.Extra.CloseSSEStream != nil {
			req.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 10 * time.Millisecond})
		}
		return says("reconnected"), nil, nil
	})
}

// addAskingTools adds those that ask the client during a call, as legacy
// clients can be.
func addAskingTools(s *mcp.Server) {
	tool(s, "test_sampling", func(ctx context.Context, req *mcp.CallToolRequest, in noInput) (*mcp.CallToolResult, any, error) {
		res, err := req.Session.CreateMessage(ctx, &mcp.CreateMessageParams{
			Messages:  []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: fmt.Sprint(in["prompt"])}}},
			MaxTokens: 100,
		})
		if err != nil {
			return nil, nil, err
		}
		text, ok := res.Content.(*mcp.TextContent)
		if !ok {
			return nil, nil, fmt.Errorf("sampled a %T", res.Content)
		}
		return says("LLM response: %s", text.Text), nil, nil
	})
	asks := func(name string, schema func(in noInput) (message string, properties map[string]any)) {
		tool(s, name, func(ctx context.Context, req *mcp.CallToolRequest, in noInput) (*mcp.CallToolResult, any, error) {
			message, properties := schema(in)
			res, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: message, RequestedSchema: object(properties)})
			if err != nil {
				return nil, nil, err
			}
			content, err := json.Marshal(res.Content)
			return says("Elicitation completed: action=%s, content=%s", res.Action, content), nil, err
		})
	}
	asks("test_elicitation", func(in noInput) (string, map[string]any) {
		return fmt.Sprint(in["message"]), map[string]any{"username": typed("string"), "email": typed("string")}
	})
	asks("test_elicitation_sep1034_defaults", func(noInput) (string, map[string]any) {
		return "Defaults", map[string]any{
			"name":     map[string]any{"type": "string", "default": "John Doe"},
			"age":      map[string]any{"type": "integer", "default": 30},
			"score":    map[string]any{"type": "number", "default": 95.5},
			"status":   map[string]any{"type": "string", "enum": []string{"active", "inactive", "pending"}, "default": "active"},
			"verified": map[string]any{"type": "boolean", "default": true},
		}
	})
	asks("test_elicitation_sep1330_enums", func(noInput) (string, map[string]any) {
		plain := map[string]any{"type": "string", "enum": []string{"option1", "option2", "option3"}}
		titled := []map[string]any{{"const": "value1", "title": "First Option"}, {"const": "value2", "title": "Second Option"}}
		return "Enums", map[string]any{
			"untitledSingle": plain,
			"titledSingle":   map[string]any{"type": "string", "oneOf": titled},
			"legacyEnum":     map[string]any{"type": "string", "enum": []string{"opt1", "opt2"}, "enumNames": []string{"Option One", "Option Two"}},
			"untitledMulti":  map[string]any{"type": "array", "items": plain},
			"titledMulti":    map[string]any{"type": "array", "items": map[string]any{"anyOf": titled}},
		}
	})
}

func object(properties map[string]any, required ...string) map[string]any {
	schema := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

func typed(name string) map[string]any { return map[string]any{"type": name} }

func addSchemaTools(s *mcp.Server) {
	for name, schema := range map[string]string{
		"json_schema_2020_12_tool": `{
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"type": "object",
			"$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
			"properties": {
				"name": {"type": "string"},
				"address": {"$ref": "#/$defs/address"},
				"contactMethod": {"type": "string", "enum": ["phone", "email"]},
				"phone": {"type": "string"},
				"email": {"type": "string"}
			},
			"allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
			"if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
			"then": {"required": ["phone"]},
			"else": {"required": ["email"]},
			"additionalProperties": false
		}`,
		"test_x_mcp_header": `{
			"type": "object",
			"properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "level": {"type": "integer"}}
		}`,
	} {
		mcp.AddTool(s, &mcp.Tool{Name: name, Description: "For the conformance suite.", InputSchema: json.RawMessage(schema)}, handler(
			func(_ context.Context, _ *mcp.CallToolRequest, in noInput) (*mcp.CallToolResult, any, error) {
				return says("called with %v", in), nil, nil
			}))
	}
	tool(s, "test_missing_capability", func(_ context.Context, req *mcp.CallToolRequest, _ noInput) (*mcp.CallToolResult, any, error) {
		if caps := req.ClientCapabilities(); caps != nil && caps.Sampling != nil {
			return says("the client can sample"), nil, nil
		}
		data, err := json.Marshal(mcp.MissingRequiredClientCapabilityData{
			RequiredCapabilities: &mcp.ClientCapabilities{Sampling: &mcp.SamplingCapabilities{}},
		})
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "sampling is required", Data: data}
	})
}

// addChangingTools adds those that change what the server offers, so that
// subscribers are told.
func addChangingTools(s *mcp.Server) {
	tool(s, "test_trigger_tool_change", func(context.Context, *mcp.CallToolRequest, noInput) (*mcp.CallToolResult, any, error) {
		tool(s, "transient", fixed(says("transient")))
		return says("changed"), nil, nil
	})
	tool(s, "test_trigger_prompt_change", func(context.Context, *mcp.CallToolRequest, noInput) (*mcp.CallToolResult, any, error) {
		s.AddPrompt(&mcp.Prompt{Name: "transient", Description: "transient"}, prompts(&mcp.TextContent{Text: "transient"}))
		return says("changed"), nil, nil
	})
}
