package sample_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// user is a client whose user answers a question.
func user(answer *mcp.ElicitResult) *mcp.ClientOptions {
	return &mcp.ClientOptions{ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
		return answer, nil
	}}
}

func TestAskName(t *testing.T) {
	s := open(t)
	accept := func(name any) *mcp.ElicitResult {
		return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": name}}
	}
	for _, version := range []string{legacy, modern} {
		t.Run(version, func(t *testing.T) {
			ask := func(a *mcp.ElicitResult) answer {
				return call(t, s.enter("ann", version, user(a)), "ask_name", args{})
			}
			expect(t, ask(accept("Ada")), "map[action:accept greeting:Hello, Ada! name:Ada]")
			expect(t, ask(&mcp.ElicitResult{Action: "decline"}), "map[action:decline greeting:Hello, whoever you are!]")
			expect(t, ask(&mcp.ElicitResult{Action: "cancel"}), "map[action:cancel greeting:Hello, whoever you are!]")
			expectFault(t, ask(accept("  ")), "1 to 100 bytes")
			expectFault(t, ask(accept(strings.Repeat("x", 101))), "1 to 100 bytes")
		})
	}
}

func TestClientsThatCannotAskAreTold(t *testing.T) {
	s := open(t)
	expectFault(t, call(t, s.enter("ann", legacy, nil), "ask_name", args{}), "elicitation capability")

	_, err := s.enter("ann", modern, nil).CallTool(t.Context(), &mcp.CallToolParams{Name: "ask_name"})
	var wire *jsonrpc.Error
	if !errors.As(err, &wire) || wire.Code != mcp.CodeMissingRequiredClientCapabilities || !strings.Contains(string(wire.Data), "elicitation") {
		t.Errorf("a modern client: %v", err)
	}
}

func TestCountdownReportsProgress(t *testing.T) {
	s := open(t)
	for _, version := range []string{legacy, modern} {
		t.Run(version, func(t *testing.T) {
			reports := make(chan float64, 10)
			ann := s.enter("ann", version, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, req *mcp.ProgressNotificationClientRequest) {
					if req.Params.Total != 1.25 || req.Params.ProgressToken != "mine" {
						t.Errorf("reported %+v", req.Params)
					}
					reports <- req.Params.Progress
				},
			})
			params := &mcp.CallToolParams{Name: "countdown", Arguments: args{"seconds": 1.25}}
			params.SetProgressToken("mine")
			if res, err := ann.CallTool(t.Context(), params); err != nil || res.IsError {
				t.Fatalf("countdown: %+v, %v", res, err)
			}
			var got []float64
			for len(got) < 3 {
				select {
				case p := <-reports:
					got = append(got, p)
				case <-time.After(time.Minute):
					t.Fatalf("only reported %v", got)
				}
			}
			if slices.Sort(got); !slices.Equal(got, []float64{0, 1, 1.25}) {
				t.Errorf("reported %v", got)
			}
		})
	}
}

func TestCountdownWithoutProgress(t *testing.T) {
	ann := open(t).enter("ann", legacy, nil)
	expect(t, call(t, ann, "countdown", args{"seconds": 0}), "map[seconds:0]")
	for _, seconds := range []any{-1, 601, "ten"} {
		if got := call(t, ann, "countdown", args{"seconds": seconds}); got.fault == "" {
			t.Errorf("countdown of %v succeeded", seconds)
		}
	}
}

func TestCountdownStopsWhenCancelled(t *testing.T) {
	started := make(chan struct{}, 10)
	ann := open(t).enter("ann", legacy, &mcp.ClientOptions{
		ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) { started <- struct{}{} },
	})
	ctx, cancel := context.WithCancel(t.Context())
	params := &mcp.CallToolParams{Name: "countdown", Arguments: args{"seconds": 600}}
	params.SetProgressToken("mine")
	done := make(chan error, 1)
	go func() {
		_, err := ann.CallTool(ctx, params)
		done <- err
	}()
	<-started
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the call: %v", err)
	}
	// The drain at the test's end waits for running calls, so it would
	// notice one that goes on.
}

func TestWhoami(t *testing.T) {
	s := open(t)
	ann := s.enter("ann", legacy, nil)
	s.clock.advance(90 * time.Second)
	expect(t, call(t, ann, "whoami", args{}), "map[era:legacy reactivated:false replica:r1 session_age_seconds:90 user:ann]")
	expect(t, call(t, s.enter("bob", modern, nil), "whoami", args{}), "map[era:modern reactivated:false replica:r1 session_age_seconds:<nil> user:bob]")
}
