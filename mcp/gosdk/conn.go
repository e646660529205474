package gosdk

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

// A transport connects a server of the SDK to one live session, and puts a
// conn between them.
type transport struct {
	*mcp.StreamableServerTransport
	live     *live
	injected []*jsonrpc.Request // that the server reads before the client's
}

// Connect implements mcp.Transport.
func (t *transport) Connect(ctx context.Context) (mcp.Connection, error) {
	inner, err := t.StreamableServerTransport.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newConn(inner, t.live, t.injected)
	if err != nil {
		_ = inner.Close()
		return nil, err
	}
	t.live.conn = c
	return c, nil
}

// A conn sees every message between client and server. It
//   - counts calls and unanswered requests to the client, which keep the
//     session live;
//   - stores what the server acknowledges before the client hears of it;
//   - numbers requests to the client so that no answer to a request of an
//     earlier activation is taken for one to a request of this one;
//   - subscribes a re-activated session to its resources again.
type conn struct {
	inner mcp.Connection
	live  *live
	base  int64 // added to the SDK's request ids, which begin at 1 each time

	injected []*jsonrpc.Request // read by Read alone
	restored chan struct{}      // closed when the injected requests are answered

	mu      sync.Mutex // guards all below
	awaited map[jsonrpc.ID]bool
	asked   map[jsonrpc.ID]bool   // requests to the client without an answer
	changes map[jsonrpc.ID]change // calls that change what is saved
	opening jsonrpc.ID            // the initialize call
}

func newConn(inner mcp.Connection, l *live, injected []*jsonrpc.Request) (*conn, error) {
	c := &conn{
		inner: inner, live: l, injected: injected,
		restored: make(chan struct{}),
		awaited:  map[jsonrpc.ID]bool{},
	}
	for _, r := range injected {
		c.awaited[r.ID] = true
	}
	if len(injected) == 0 {
		close(c.restored)
	}
	base, err := requestBase()
	c.base = base
	return c, err
}

// requestBase returns a number whose sum with a small one is exact in a
// float64, as which JSON numbers travel, and will hardly come up again.
func requestBase() (int64, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("read random bytes for request ids: %w", err)
	}
	return int64(binary.BigEndian.Uint32(b[:])) << 20, nil
}

// SessionID implements mcp.Connection.
func (c *conn) SessionID() string { return c.inner.SessionID() }

// Read implements mcp.Connection.
func (c *conn) Read(ctx context.Context) (jsonrpc.Message, error) {
	if len(c.injected) > 0 {
		r := c.injected[0]
		c.injected = c.injected[1:]
		return r, nil
	}
	for {
		msg, err := c.inner.Read(ctx)
		if err != nil {
			return nil, err
		}
		switch m := msg.(type) {
		case *jsonrpc.Request:
			c.received(m)
		case *jsonrpc.Response:
			if m = c.answer(m); m == nil {
				continue // to a request that nobody waits for
			}
			return m, nil
		}
		return msg, nil
	}
}

// received notes a message from the client.
func (c *conn) received(r *jsonrpc.Request) {
	restoreMethod(r)
	if !r.ID.IsValid() {
		return
	}
	c.live.callBegins()
	switch r.Method {
	case "initialize":
		c.mu.Lock()
		c.opening = r.ID
		c.mu.Unlock()
	case "logging/setLevel", "resources/subscribe", "resources/unsubscribe":
		c.willChange(r)
	}
}

// answer turns the id of a client's answer into that of the SDK's request, or
// returns nil if it answers none.
func (c *conn) answer(r *jsonrpc.Response) *jsonrpc.Response {
	c.mu.Lock()
	known := c.asked[r.ID]
	delete(c.asked, r.ID)
	c.mu.Unlock()
	if !known {
		return nil
	}
	c.live.askEnds()
	r.ID = numberID(r.ID.Raw().(int64) - c.base)
	return r
}

// Write implements mcp.Connection.
func (c *conn) Write(ctx context.Context, msg jsonrpc.Message) error {
	switch m := msg.(type) {
	case *jsonrpc.Response:
		return c.respond(ctx, m)
	case *jsonrpc.Request:
		if c.live.h.opts.JSONResponse {
			// What is no response belongs to the standalone stream. The SDK
			// relates a message to a call by a value of the context.
			ctx = valueless{ctx}
		}
		if m.ID.IsValid() {
			return c.ask(ctx, m)
		}
		if m.Method == "notifications/cancelled" {
			m = c.cancel(m)
		}
		return c.inner.Write(ctx, m)
	}
	return c.inner.Write(ctx, msg)
}

// respond answers a call of the client's.
func (c *conn) respond(ctx context.Context, r *jsonrpc.Response) error {
	if c.own(r) {
		return nil
	}
	defer c.live.callEnds()
	c.mu.Lock()
	opening := c.opening.IsValid() && c.opening == r.ID
	change, changes := c.changes[r.ID]
	delete(c.changes, r.ID)
	c.mu.Unlock()

	if opening {
		r = c.open(ctx, r)
	} else if changes && r.Error == nil {
		if err := c.live.persist(ctx, change); err != nil {
			r = notStored(r.ID)
		}
	}
	return c.inner.Write(ctx, r)
}

// open handles the answer to an initialize: what was stored when the session
// was created must be what the client is told.
func (c *conn) open(ctx context.Context, r *jsonrpc.Response) *jsonrpc.Response {
	if r.Error == nil {
		var result struct {
			ProtocolVersion string `json:"protocolVersion"`
		}
		if err := json.Unmarshal(r.Result, &result); err != nil {
			r = notStored(r.ID)
		} else if err := c.live.negotiated(ctx, result.ProtocolVersion); err != nil {
			r = notStored(r.ID)
		}
	}
	c.live.opened(r.Error == nil)
	return r
}

// own reports whether r answers an injected request, and takes it if so.
func (c *conn) own(r *jsonrpc.Response) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.awaited[r.ID] {
		return false
	}
	delete(c.awaited, r.ID)
	if r.Error != nil {
		c.live.h.opts.Logger.Warn("could not subscribe a re-activated session to a resource again", "ref", c.live.ref, "error", r.Error)
	}
	if len(c.awaited) == 0 {
		close(c.restored)
	}
	return true
}

// ask sends a request to the client.
func (c *conn) ask(ctx context.Context, r *jsonrpc.Request) error {
	n, ok := r.ID.Raw().(int64)
	if !ok {
		return c.inner.Write(ctx, r)
	}
	id := numberID(n + c.base)
	c.mu.Lock()
	if c.asked == nil {
		c.asked = map[jsonrpc.ID]bool{}
	}
	c.asked[id] = true
	c.mu.Unlock()
	c.live.askBegins()

	err := c.inner.Write(ctx, &jsonrpc.Request{ID: id, Method: r.Method, Params: r.Params, Extra: r.Extra})
	if err != nil {
		c.forgetAsk(id)
	}
	return err
}

// forgetAsk drops a request to the client whose answer is awaited no more.
func (c *conn) forgetAsk(id jsonrpc.ID) {
	c.mu.Lock()
	known := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if known {
		c.live.askEnds()
	}
}

// cancel returns the notification that cancels a request to the client, with
// the id that the client knows.
func (c *conn) cancel(r *jsonrpc.Request) *jsonrpc.Request {
	var params map[string]json.RawMessage
	var n int64
	if json.Unmarshal(r.Params, &params) != nil || json.Unmarshal(params["requestId"], &n) != nil {
		return r
	}
	id := numberID(n + c.base)
	c.forgetAsk(id)
	params["requestId"] = json.RawMessage(fmt.Sprint(id.Raw()))
	encoded, err := json.Marshal(params)
	if err != nil {
		return r
	}
	return &jsonrpc.Request{Method: r.Method, Params: encoded, Extra: r.Extra}
}

// tell sends the client a notification without params, on the standalone
// stream, if it is ready for any.
func (l *live) tell(method string) {
	select {
	case <-l.ready:
	default:
		return // it asks for the lists when it begins
	}
	l.mu.Lock()
	able := l.err == nil && !l.closing && l.saved.Initialized
	l.mu.Unlock()
	if able {
		// What is not delivered is in the client's stream when it resumes.
		_ = l.conn.Write(context.Background(), &jsonrpc.Request{Method: method, Params: json.RawMessage(`{}`)})
	}
}

// Close implements mcp.Connection. The SDK calls it when the session is closed
// here, by whomever; it must not block.
func (c *conn) Close() error {
	err := c.inner.Close()
	c.live.closedBySDK()
	return err
}

// cut ends the streams and cancels the calls of the session at once.
func (c *conn) cut() { _ = c.inner.Close() }

// numberID returns the id of a number, which the SDK keeps as an int64.
func numberID(n int64) jsonrpc.ID {
	id, _ := jsonrpc.MakeID(float64(n)) // a float64 is always an id
	return id
}

// notStored answers a call whose effect would not survive a restart.
func notStored(id jsonrpc.ID) *jsonrpc.Response {
	return &jsonrpc.Response{ID: id, Error: &jsonrpc.Error{
		Code: jsonrpc.CodeInternalError, Message: "session state could not be stored, try again",
	}}
}

// A valueless context has no values.
type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }

// SupportsProtocolVersion implements mcp.ProtocolVersionSupporter.
func (t *transport) SupportsProtocolVersion(v string) bool {
	return !streamable.Modern(v) && t.StreamableServerTransport.SupportsProtocolVersion(v)
}
