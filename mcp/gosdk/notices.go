package gosdk

import (
	"context"
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/cluster"
)

// The SDK tells clients of a change that are connected to the same server in
// the same process. Between replicas this package passes on what was changed:
// that a resource was, when it is told by ResourceUpdated, and that a list was,
// when the SDK tells its own sessions, of which the beacon is one.

// noticeTopic is that of notices among replicas.
const noticeTopic = "coatcheck.gosdk"

// The notifications that are passed on.
const (
	resourceUpdated      = "notifications/resources/updated"
	toolsListChanged     = "notifications/tools/list_changed"
	promptsListChanged   = "notifications/prompts/list_changed"
	resourcesListChanged = "notifications/resources/list_changed"
)

func isListChange(method string) bool {
	return method == toolsListChanged || method == promptsListChanged || method == resourcesListChanged
}

// A notice is a notification on its way to the clients of other replicas.
type notice struct {
	Method string `json:"method"`
	URI    string `json:"uri,omitempty"` // of a resource
}

// noticesWaiting bounds how many notices of others wait to be passed on. More
// are dropped: clients that missed one see the change when they next look.
const noticesWaiting = 1024

// ResourceUpdated tells the clients that have subscribed to the resource that
// it has changed, whichever replica they are connected to, in either era. It
// takes the place of the method of mcp.Server of that name.
func (h *Handler) ResourceUpdated(ctx context.Context, params *mcp.ResourceUpdatedNotificationParams) error {
	for _, server := range h.servers.all() {
		if err := server.ResourceUpdated(ctx, params); err != nil {
			return err
		}
	}
	return h.publish(notice{Method: resourceUpdated, URI: params.URI})
}

// ResourceUpdated is [Handler.ResourceUpdated] for tools and other handlers of
// the server that do not know the Handler: ctx is that of their call. With any
// other context it is server.ResourceUpdated, and tells those clients alone
// that are connected to this process.
func ResourceUpdated(ctx context.Context, server *mcp.Server, params *mcp.ResourceUpdatedNotificationParams) error {
	h := handlerOf(ctx)
	if h == nil || h.opts.Cluster == nil {
		return server.ResourceUpdated(ctx, params)
	}
	return h.ResourceUpdated(ctx, params)
}

type handlerKey struct{}

// handlerOf returns the handler that serves the call of ctx, or nil.
func handlerOf(ctx context.Context) *Handler {
	if s, ok := FromContext(ctx); ok {
		return s.live.h
	}
	h, _ := ctx.Value(handlerKey{}).(*Handler)
	return h
}

// publish tells the other replicas.
func (h *Handler) publish(n notice) error {
	if h.opts.Cluster == nil {
		return nil
	}
	payload, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return h.opts.Cluster.Publish(noticeTopic, payload)
}

// listChanged is told by a beacon.
func (h *Handler) listChanged(method string) {
	if err := h.publish(notice{Method: method}); err != nil && h.ctx.Err() == nil {
		h.log.Warn("the clients of other replicas do not hear of a change", "method", method, "error", err)
	}
}

// hear takes a notice of another replica.
func (h *Handler) hear(m cluster.Message) {
	var n notice
	if json.Unmarshal(m.Payload, &n) != nil {
		return // of a newer program
	}
	if m.Missed {
		for _, method := range []string{toolsListChanged, promptsListChanged, resourcesListChanged} {
			h.queue(notice{Method: method})
		}
	}
	h.queue(n)
}

func (h *Handler) queue(n notice) {
	select {
	case h.notices <- n:
	default:
		h.log.Warn("too many notices of other replicas: one was dropped", "method", n.Method)
	}
}

// passNotices tells the clients here what other replicas say, one thing after
// the other, until the Handler is closed.
func (h *Handler) passNotices() {
	for {
		select {
		case <-h.ctx.Done():
			return
		case n := <-h.notices:
			h.passNotice(n)
		}
	}
}

func (h *Handler) passNotice(n notice) {
	switch {
	case n.Method == resourceUpdated:
		for _, server := range h.servers.all() {
			// The SDK reports no errors of clients.
			_ = server.ResourceUpdated(h.ctx, &mcp.ResourceUpdatedNotificationParams{URI: n.URI})
		}
	case isListChange(n.Method):
		for _, l := range h.live.all() {
			l.tell(n.Method)
		}
		h.listeners.tell(h.ctx, n.Method)
	}
}
