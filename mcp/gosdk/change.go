package gosdk

import (
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// A change of what is saved, made by a call of the client's and stored before
// the call is answered.
type change func(*saved)

// willChange notes what the call changes if it succeeds. Params that the
// server will refuse change nothing.
func (c *conn) willChange(r *jsonrpc.Request) {
	var params struct {
		Level string `json:"level"`
		URI   string `json:"uri"`
	}
	if json.Unmarshal(r.Params, &params) != nil {
		return
	}
	var apply change
	switch r.Method {
	case "logging/setLevel":
		apply = func(v *saved) { v.LogLevel = params.Level }
	case "resources/subscribe":
		apply = func(v *saved) { v.subscribe(params.URI) }
	case "resources/unsubscribe":
		apply = func(v *saved) { v.unsubscribe(params.URI) }
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == nil {
		c.changes = map[jsonrpc.ID]change{}
	}
	c.changes[r.ID] = apply
}
