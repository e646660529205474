package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/gosdk"
)

const (
	maxNameBytes = 100
	maxCountdown = 600 // seconds
)

// The eras, as whoami tells them.
const (
	eraLegacy = "legacy"
	eraModern = "modern"
)

// modernVersion is the first protocol revision without sessions.
const modernVersion = "2026-07-28"

type greeting struct {
	Greeting string `json:"greeting"`
	Action   string `json:"action" jsonschema:"what the user did with the question: accept, decline or cancel"`
	Name     string `json:"name,omitempty"`
}

// nameQuestion is the key of the question among the input requests.
const nameQuestion = "name"

// askName asks by returning an input request. A modern client answers by
// calling again with the response; for a legacy client the SDK asks by
// elicitation, in the middle of the call, and then does the same.
func askName(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, greeting, error) {
	response, answered := req.Params.InputResponses[nameQuestion]
	if !answered {
		res, err := ask(req)
		return res, greeting{}, err
	}
	answer, ok := response.(*mcp.ElicitResult)
	if !ok {
		return nil, greeting{}, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "the response to \"name\" is not that of an elicitation"}
	}
	if answer.Action != "accept" {
		return nil, greeting{Greeting: "Hello, whoever you are!", Action: answer.Action}, nil
	}
	name, _ := answer.Content[nameQuestion].(string)
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxNameBytes || !utf8.ValidString(name) {
		return nil, greeting{}, fmt.Errorf("a name has 1 to %d bytes", maxNameBytes)
	}
	return nil, greeting{Greeting: "Hello, " + name + "!", Action: answer.Action, Name: name}, nil
}

func ask(req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if caps := req.ClientCapabilities(); caps == nil || caps.Elicitation == nil {
		return nil, cannotAsk(req)
	}
	return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{
		nameQuestion: &mcp.ElicitParams{
			Message: "What is your name?",
			RequestedSchema: map[string]any{
				"type":       "object",
				"properties": map[string]any{nameQuestion: map[string]any{"type": "string", "title": "Name"}},
				"required":   []string{nameQuestion},
			},
		},
	}}, nil
}

// cannotAsk is the error for a client that did not declare elicitation. The
// modern revision has a code of its own for that.
func cannotAsk(req *mcp.CallToolRequest) error {
	if req.ProtocolVersion() < modernVersion {
		return errors.New("this client cannot ask its user: it did not declare the elicitation capability")
	}
	data, err := json.Marshal(mcp.MissingRequiredClientCapabilityData{
		RequiredCapabilities: &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{}},
	})
	if err != nil {
		return err
	}
	return &jsonrpc.Error{
		Code:    mcp.CodeMissingRequiredClientCapabilities,
		Message: "ask_name needs the elicitation capability",
		Data:    data,
	}
}

type (
	countdownIn struct {
		Seconds float64 `json:"seconds" jsonschema:"how long to count"`
	}
	countdownOut struct {
		Seconds float64 `json:"seconds" jsonschema:"how long it counted"`
	}
)

// countdown reports progress at the start, every second and at the end, to a
// client that asked for progress.
func countdown(ctx context.Context, req *mcp.CallToolRequest, in countdownIn) (*mcp.CallToolResult, countdownOut, error) {
	if !(in.Seconds >= 0 && in.Seconds <= maxCountdown) {
		return nil, countdownOut{}, fmt.Errorf("seconds must be from 0 to %d", maxCountdown)
	}
	for done := 0.0; ; done = min(done+1, in.Seconds) {
		reportProgress(ctx, req, done, in.Seconds)
		if done >= in.Seconds {
			return nil, countdownOut(in), nil
		}
		step := min(1, in.Seconds-done)
		select {
		case <-time.After(time.Duration(step * float64(time.Second))):
		case <-ctx.Done():
			return nil, countdownOut{}, ctx.Err()
		}
	}
}

func reportProgress(ctx context.Context, req *mcp.CallToolRequest, done, total float64) {
	token := req.Params.GetProgressToken()
	if token == nil {
		return
	}
	// A report that cannot be delivered is no reason to fail: the client may
	// come back for the result.
	_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
		ProgressToken: token, Progress: done, Total: total,
		Message: fmt.Sprintf("%g seconds left", total-done),
	})
}

type identity struct {
	Replica string `json:"replica" jsonschema:"the server process that answered"`
	User    string `json:"user" jsonschema:"who the server says the caller is; empty if it does not verify"`
	Era     string `json:"era" jsonschema:"legacy for clients with a session, modern for those without"`
	// Age is null without a session.
	Age         *float64 `json:"session_age_seconds" jsonschema:"how long ago the session began; null without a session"`
	Reactivated bool     `json:"reactivated" jsonschema:"the session was continued in this process, after a restart or a pause"`
}

func (s *Sample) whoami(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, identity, error) {
	me := identity{Replica: s.replica(), User: user(req), Era: eraModern}
	own, ok := gosdk.FromContext(ctx)
	if !ok {
		return nil, me, nil
	}
	now, err := own.Load(ctx)
	if err != nil {
		return nil, me, err
	}
	age := now.Age().Seconds()
	me.Era, me.Age, me.Reactivated = eraLegacy, &age, own.Reactivated()
	return nil, me, nil
}
