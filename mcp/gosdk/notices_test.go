package gosdk

import (
	"context"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// only has a client talk to one replica.
func only(r *replica) peerOption {
	return func(_ *mcp.ClientOptions, tr *mcp.StreamableClientTransport, _ *mcp.ClientSessionOptions) {
		tr.Endpoint, tr.HTTPClient = r.web.URL, http.DefaultClient
	}
}

// met makes sure that the replicas know one another.
func (rs *replicas) met() {
	rs.t.Helper()
	for _, r := range rs.all {
		eventually(rs.t, "the replicas know one another", func() bool {
			members, err := r.node.Members(rs.t.Context())
			return err == nil && len(members) == len(rs.all)
		})
	}
}

func TestNotificationsReachClientsOfOtherReplicas(t *testing.T) {
	rs := newReplicas(t, 2)
	rs.met()
	here, there := rs.all[0], rs.all[1]
	ctx := testContext(t)
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		t.Run(version, func(t *testing.T) {
			p := rs.connect(only(here), speaking(version))
			if err := p.cs.Subscribe(ctx, &mcp.SubscribeParams{URI: "note:///a"}); err != nil {
				t.Fatal(err)
			}
			// So that the other replica's server has been seen twice.
			for range 2 {
				if _, err := rs.connect(only(there), speaking(version), withoutStream).cs.ListTools(ctx, nil); err != nil {
					t.Fatal(err)
				}
			}
			before := len(p.updated)
			eventually(t, "the update", func() bool {
				params := &mcp.ResourceUpdatedNotificationParams{URI: "note:///a"}
				if err := there.handler.ResourceUpdated(ctx, params); err != nil {
					t.Error(err)
				}
				return p.saw(func() bool { return len(p.updated) > before })()
			})
			mcp.AddTool(there.server, &mcp.Tool{Name: "new-" + version}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, struct{}, error) {
				return nil, struct{}{}, nil
			})
			eventually(t, "the change of the list", p.saw(func() bool { return p.changed > 0 }))
		})
	}
}

// A server that is made for each request must not be kept by what is known of
// it.
func TestServersAreNotKept(t *testing.T) {
	rs := newReplicas(t, 1)
	h := rs.all[0].handler
	for range 50 {
		h.servers.note(newServer(newTools()), h.listeners.observe)
	}
	eventually(t, "they are forgotten", func() bool {
		collect()
		return len(h.servers.all()) == 0
	})
}

func TestABeaconAnswersPings(t *testing.T) {
	rs := newReplicas(t, 1)
	h := rs.all[0].handler
	server := newServer(newTools())
	for range 2 {
		h.servers.note(server, h.listeners.observe)
	}
	h.light(server)
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Second)
	defer cancel()
	for ss := range server.Sessions() {
		if err := ss.Ping(ctx, nil); err != nil {
			t.Errorf("ping: %v", err)
		}
		if _, err := ss.Elicit(ctx, &mcp.ElicitParams{Message: "x"}); err == nil {
			t.Error("nobody answers a question")
		}
	}
}

func collect() { runtime.GC() }
