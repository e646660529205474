package streamable

import (
	"net/http"
	"strings"
)

// SessionID returns the text of the Mcp-Session-Id header, or "" without one.
// Several headers, or one with a comma (which is how several may arrive
// through a proxy), are refused. Whether the text names a session is not
// judged here.
func SessionID(r *http.Request) (string, error) {
	id, ok := single(r.Header, HeaderSession)
	if !ok || strings.IndexByte(id, ',') >= 0 {
		return "", BadRequest("Bad Request: more than one Mcp-Session-Id")
	}
	return id, nil
}
