//lint:file-ignore SA1019 the conformance suite tests what 2026-07-28 deprecates

package everything

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Multi-round-trip requests (SEP-2322): the tools below answer with questions
// until the client has answered them.

func elicit(message, field, kind string) mcp.InputRequest {
	return &mcp.ElicitParams{Message: message, RequestedSchema: object(map[string]any{field: typed(kind)}, field)}
}

func sample(prompt string) mcp.InputRequest {
	return &mcp.CreateMessageParams{
		Messages:  []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: prompt}}},
		MaxTokens: 50,
	}
}

func questions(state string, requests mcp.InputRequestMap) *mcp.CallToolResult {
	return &mcp.CallToolResult{InputRequests: requests, RequestState: state}
}

// accepted returns a field of what the user entered, or nil.
func accepted(responses mcp.InputResponseMap, key, field string) any {
	res, ok := responses[key].(*mcp.ElicitResult)
	if !ok || res.Action != "accept" {
		return nil
	}
	return res.Content[field]
}

func sampled(responses mcp.InputResponseMap, key string) (string, bool) {
	res, ok := responses[key].(*mcp.CreateMessageWithToolsResult)
	if !ok || len(res.Content) == 0 {
		return "", false
	}
	text, ok := res.Content[0].(*mcp.TextContent)
	return text.Text, ok
}

func roots(responses mcp.InputResponseMap, key string) (int, bool) {
	res, ok := responses[key].(*mcp.ListRootsResult)
	if !ok {
		return 0, false
	}
	return len(res.Roots), true
}

// seal makes a request state that cannot be changed unnoticed.
type seal struct{ key []byte }

func newSeal() (seal, error) {
	s := seal{key: make([]byte, 32)}
	if _, err := rand.Read(s.key); err != nil {
		return seal{}, fmt.Errorf("make a key: %w", err)
	}
	return s, nil
}

func (s seal) close(text string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(text))
	return text + "." + hex.EncodeToString(mac.Sum(nil))
}

func (s seal) open(sealed string) (string, error) {
	text, _, _ := strings.Cut(sealed, ".")
	if !hmac.Equal([]byte(s.close(text)), []byte(sealed)) {
		return "", &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "requestState was changed"}
	}
	return text, nil
}

// answering adds a tool that looks at nothing but its parameters.
func answering(s *mcp.Server, name string, answer func(p *mcp.CallToolParamsRaw) (*mcp.CallToolResult, error)) {
	tool(s, name, func(_ context.Context, req *mcp.CallToolRequest, _ noInput) (*mcp.CallToolResult, any, error) {
		res, err := answer(req.Params)
		return res, nil, err
	})
}

func addInputTools(s *mcp.Server) {
	answering(s, "test_input_required_result_elicitation", func(p *mcp.CallToolParamsRaw) (*mcp.CallToolResult, error) {
		if name, _ := accepted(p.InputResponses, "user_name", "name").(string); name != "" {
			return says("Hello, %s!", name), nil
		}
		return questions("", mcp.InputRequestMap{"user_name": elicit("What is your name?", "name", "string")}), nil
	})
	answering(s, "test_input_required_result_sampling", func(p *mcp.CallToolParamsRaw) (*mcp.CallToolResult, error) {
		if text, ok := sampled(p.InputResponses, "capital_question"); ok {
			return says("Sampled: %s", text), nil
		}
		return questions("", mcp.InputRequestMap{"capital_question": sample("What is the capital of France?")}), nil
	})
	answering(s, "test_input_required_result_list_roots", func(p *mcp.CallToolParamsRaw) (*mcp.CallToolResult, error) {
		if n, ok := roots(p.InputResponses, "client_roots"); ok {
			return says("%d roots", n), nil
		}
		return questions("", mcp.InputRequestMap{"client_roots": &mcp.ListRootsParams{}}), nil
	})
	answering(s, "test_input_required_result_multiple_inputs", func(p *mcp.CallToolParamsRaw) (*mcp.CallToolResult, error) {
		name := accepted(p.InputResponses, "user_name", "name")
		greeting, greeted := sampled(p.InputResponses, "greeting")
		n, listed := roots(p.InputResponses, "client_roots")
		if name != nil && greeted && listed {
			return says("%s %v, %d roots", greeting, name, n), nil
		}
		return questions("several", mcp.InputRequestMap{
			"user_name":    elicit("What is your name?", "name", "string"),
			"greeting":     sample("Generate a greeting"),
			"client_roots": &mcp.ListRootsParams{},
		}), nil
	})
	tool(s, "test_input_required_result_capabilities", func(_ context.Context, req *mcp.CallToolRequest, _ noInput) (*mcp.CallToolResult, any, error) {
		return askWhatCanBeAsked(req), nil, nil
	})
}

func addStatefulInputTools(s *mcp.Server, sealed seal) {
	confirm := func(p *mcp.CallToolParamsRaw) (*mcp.CallToolResult, error) {
		if p.RequestState != "" {
			if _, err := sealed.open(p.RequestState); err != nil {
				return nil, err
			}
			if accepted(p.InputResponses, "confirm", "ok") != nil {
				return says("state-ok"), nil
			}
		}
		return questions(sealed.close("confirm"), mcp.InputRequestMap{"confirm": elicit("Please confirm", "ok", "boolean")}), nil
	}
	answering(s, "test_input_required_result_request_state", confirm)
	answering(s, "test_input_required_result_tampered_state", confirm)
	answering(s, "test_input_required_result_multi_round", func(p *mcp.CallToolParamsRaw) (*mcp.CallToolResult, error) {
		if p.RequestState == "" {
			return questions(sealed.close("first"), mcp.InputRequestMap{"step1": elicit("What is your name?", "name", "string")}), nil
		}
		state, err := sealed.open(p.RequestState)
		if err != nil {
			return nil, err
		}
		if state == "first" {
			name, _ := accepted(p.InputResponses, "step1", "name").(string)
			return questions(sealed.close("second "+hex.EncodeToString([]byte(name))),
				mcp.InputRequestMap{"step2": elicit("What is your favorite color?", "color", "string")}), nil
		}
		name, err := hex.DecodeString(strings.TrimPrefix(state, "second "))
		return says("%s likes %v", name, accepted(p.InputResponses, "step2", "color")), err
	})
}

// askWhatCanBeAsked asks only for what the client declared.
func askWhatCanBeAsked(req *mcp.CallToolRequest) *mcp.CallToolResult {
	if len(req.Params.InputResponses) > 0 {
		return says("thank you")
	}
	requests := mcp.InputRequestMap{}
	if caps := req.ClientCapabilities(); caps != nil {
		if caps.Elicitation != nil {
			requests["user_name"] = elicit("What is your name?", "name", "string")
		}
		if caps.Sampling != nil {
			requests["greeting"] = sample("Generate a greeting")
		}
		if caps.RootsV2 != nil {
			requests["client_roots"] = &mcp.ListRootsParams{}
		}
	}
	if len(requests) == 0 {
		return says("this client cannot be asked")
	}
	return questions("", requests)
}
