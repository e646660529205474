package gosdk

import (
	"bytes"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

// The SDK's transport refuses a method that is not of the specification, unless
// its own handler has told it of the server, whose custom methods
// (mcp.AddReceivingCustomMethod) it knows then. So such a call goes through the
// transport as a "ping", its method in a header of the copy of the request that
// the SDK is given, and is restored before the server reads it.

// methodHeader is set by this package alone; a client's is dropped. The name
// cannot come from the network: a colon ends a name there.
const methodHeader = ":coatcheck-method"

// standard has the methods of the specification that a client may call.
var standard = map[string]bool{
	"completion/complete": true, "initialize": true, "logging/setLevel": true, "ping": true,
	"prompts/get": true, "prompts/list": true,
	"resources/list": true, "resources/read": true, "resources/subscribe": true,
	"resources/templates/list": true, "resources/unsubscribe": true,
	"server/discover": true, "subscriptions/listen": true,
	"tools/call": true, "tools/list": true,
}

// hideMethod returns the body with a custom method replaced, and names it in
// the header.
func hideMethod(body []byte, m *streamable.Message, h http.Header) []byte {
	if !m.Call() || standard[string(m.Method)] || len(m.Method) == 0 || bytes.HasPrefix(m.Method, []byte("notifications/")) {
		return body
	}
	h[methodHeader] = []string{string(m.Method)}
	return bytes.Join([][]byte{body[:m.MethodAt], body[m.MethodAt+len(m.Method):]}, []byte("ping"))
}

// restoreMethod undoes hideMethod.
func restoreMethod(r *jsonrpc.Request) {
	extra, ok := r.Extra.(*mcp.RequestExtra)
	if !ok || extra == nil {
		return
	}
	if method := extra.Header[methodHeader]; len(method) == 1 {
		delete(extra.Header, methodHeader)
		r.Method = method[0]
	}
}
