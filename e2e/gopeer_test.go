package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// gopeer is a client of the official Go SDK.
type gopeer struct {
	ctx     context.Context
	version string
	gives   time.Duration // for a call, before it gives up; zero: patience
	told    events
	conn    *mcp.ClientSession
}

func newGo(t testing.TB, version string) peer {
	p := &gopeer{ctx: t.Context(), version: version}
	t.Cleanup(func() {
		if p.conn != nil {
			_ = p.conn.Close() // the server may be gone
		}
	})
	return p
}

// bearer adds credentials to each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+string(b))
	}
	return http.DefaultTransport.RoundTrip(r)
}

func (p *gopeer) connect(url, token string) (err error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "coatcheck-e2e-go", Version: "1.0.0"}, &mcp.ClientOptions{
		ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			p.told.add(event{Event: "elicitation", Message: req.Params.Message})
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada"}}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, req *mcp.ProgressNotificationClientRequest) {
			p.told.add(event{Event: "progress", Progress: req.Params.Progress, Total: req.Params.Total})
		},
		ResourceUpdatedHandler: func(_ context.Context, req *mcp.ResourceUpdatedNotificationRequest) {
			ev := event{Event: "notification", Method: "notifications/resources/updated"}
			ev.Params.URI = req.Params.URI
			p.told.add(ev)
		},
	})
	transport := &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: bearer(token)}, MaxRetries: 50}
	p.conn, err = client.Connect(p.ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: p.version})
	return err
}

func (p *gopeer) session() string { return p.conn.ID() }

func (p *gopeer) tools() ([]string, error) {
	var names []string
	for tool, err := range p.conn.Tools(p.ctx, nil) {
		if err != nil {
			return nil, err
		}
		names = append(names, tool.Name)
	}
	return names, nil
}

func (p *gopeer) call(tool string, args map[string]any) (r result, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, cmp.Or(p.gives, patience))
	defer cancel()
	params := &mcp.CallToolParams{Name: tool, Arguments: args}
	params.SetProgressToken("progress of " + tool)
	res, err := p.conn.CallTool(ctx, params)
	if err != nil {
		return r, err
	}
	text, err := json.Marshal(res)
	if err != nil {
		return r, err
	}
	noted.NoteIDs(string(text)) // of baskets
	return r, json.Unmarshal(text, &r)
}

// watch subscribes. In the modern era the SDK does not notice that a
// subscription ended with its server, so an older one is cancelled first.
func (p *gopeer) watch(uri string) error {
	if p.session() == "" {
		if err := p.conn.Unsubscribe(p.ctx, &mcp.UnsubscribeParams{URI: uri}); err != nil {
			return err
		}
	}
	return p.conn.Subscribe(p.ctx, &mcp.SubscribeParams{URI: uri})
}

func (p *gopeer) read(uri string) (string, error) {
	res, err := p.conn.ReadResource(p.ctx, &mcp.ReadResourceParams{URI: uri})
	if err != nil {
		return "", err
	}
	if len(res.Contents) != 1 {
		return "", fmt.Errorf("%d contents", len(res.Contents))
	}
	return res.Contents[0].Text, nil
}

func (p *gopeer) terminate() error { return p.conn.Close() }
func (p *gopeer) seen() *events    { return &p.told }
