package gosdk

import (
	"context"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// listeners are the subscriptions/listen streams of the 2026-07-28 revision
// that are open here. The zero value is ready.
type listeners struct {
	mu  sync.Mutex // guards all
	all map[*mcp.ServerSession]listener
}

// A listener is what its client was told that it has subscribed to.
type listener struct {
	accepted mcp.NotificationSubscriptions
	id       any               // of the subscription
	send     mcp.MethodHandler // of its server
}

// observe has the server report which streams open and end.
func (ls *listeners) observe(server *mcp.Server) {
	server.AddSendingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			if ack, ok := req.GetParams().(*mcp.SubscriptionsAcknowledgedParams); ok {
				ls.opened(req, ack, next)
			}
			return next(ctx, method, req)
		}
	})
	server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			if method == "subscriptions/listen" {
				defer ls.ended(req)
			}
			return next(ctx, method, req)
		}
	})
}

func (ls *listeners) opened(req mcp.Request, ack *mcp.SubscriptionsAcknowledgedParams, send mcp.MethodHandler) {
	ss, ok := req.GetSession().(*mcp.ServerSession)
	if !ok {
		return
	}
	l := listener{id: ack.Meta[mcp.MetaKeySubscriptionID], send: send}
	l.accepted = ack.Notifications
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.all == nil {
		ls.all = map[*mcp.ServerSession]listener{}
	}
	ls.all[ss] = l
}

func (ls *listeners) ended(req mcp.Request) {
	ss, _ := req.GetSession().(*mcp.ServerSession)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.all, ss)
}

// tell tells those who want to know that a list has changed.
func (ls *listeners) tell(ctx context.Context, method string) {
	ls.mu.Lock()
	told := map[*mcp.ServerSession]listener{}
	for ss, l := range ls.all {
		if l.wants(method) {
			told[ss] = l
		}
	}
	ls.mu.Unlock()
	for ss, l := range told {
		_, _ = l.send(ctx, method, l.notification(ss, method)) // a client that is gone hears of nothing
	}
}

func (l *listener) wants(method string) bool {
	switch method {
	case toolsListChanged:
		return l.accepted.ToolsListChanged
	case promptsListChanged:
		return l.accepted.PromptsListChanged
	case resourcesListChanged:
		return l.accepted.ResourcesListChanged
	}
	return false
}

func (l *listener) notification(ss *mcp.ServerSession, method string) mcp.Request {
	meta := mcp.Meta{mcp.MetaKeySubscriptionID: l.id}
	switch method {
	case toolsListChanged:
		return &mcp.ServerRequest[*mcp.ToolListChangedParams]{Session: ss, Params: &mcp.ToolListChangedParams{Meta: meta}}
	case promptsListChanged:
		return &mcp.ServerRequest[*mcp.PromptListChangedParams]{Session: ss, Params: &mcp.PromptListChangedParams{Meta: meta}}
	}
	return &mcp.ServerRequest[*mcp.ResourceListChangedParams]{Session: ss, Params: &mcp.ResourceListChangedParams{Meta: meta}}
}
