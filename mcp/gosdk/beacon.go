package gosdk

import (
	"context"
	"encoding/json"
	"io"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// A beacon is a session of a server with nobody at the other end. The SDK tells
// it what it tells all sessions: that a list has changed. It is seen among the
// sessions of the server, and answers pings and nothing else.
type beacon struct {
	changed func(method string)
	answers chan jsonrpc.Message
	done    chan struct{}
	once    sync.Once
}

// light connects a beacon to the server.
func (h *Handler) light(server *mcp.Server) {
	b := &beacon{changed: h.listChanged, answers: make(chan jsonrpc.Message, 1), done: make(chan struct{})}
	ss, err := server.Connect(h.ctx, b, nil)
	if err != nil {
		h.log.Warn("the clients of other replicas will not hear of changed lists", "error", err)
		return
	}
	h.servers.keep(server, ss)
}

// Connect implements mcp.Transport.
func (b *beacon) Connect(context.Context) (mcp.Connection, error) { return b, nil }

// SessionID implements mcp.Connection.
func (b *beacon) SessionID() string { return "" }

// Read implements mcp.Connection.
func (b *beacon) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case m := <-b.answers:
		return m, nil
	case <-b.done:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write implements mcp.Connection.
func (b *beacon) Write(ctx context.Context, m jsonrpc.Message) error {
	r, ok := m.(*jsonrpc.Request)
	if !ok {
		return nil
	}
	if !r.ID.IsValid() {
		if isListChange(r.Method) {
			b.changed(r.Method)
		}
		return nil
	}
	answer := &jsonrpc.Response{ID: r.ID, Result: json.RawMessage(`{}`)}
	if r.Method != "ping" {
		answer.Result, answer.Error = nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "there is no client behind this session"}
	}
	select {
	case b.answers <- answer:
		return nil
	case <-b.done:
		return io.EOF
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements mcp.Connection.
func (b *beacon) Close() error {
	b.once.Do(func() { close(b.done) })
	return nil
}
