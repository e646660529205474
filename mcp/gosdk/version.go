package gosdk

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

// The SDK's transport learns the protocol revision of a request from a context
// value under a key that it does not export; its own handler puts it there.
// Without it every request counts as 2025-03-26: batches are let through and
// nothing is primed. So the value is borrowed: a request with the header goes
// through a handler of the SDK's whose getServer keeps the context it is
// shown, and the contexts of requests fall back on that one.

// errNoVersion: a later SDK does this differently; nothing must be served
// under the wrong revision unnoticed.
var errNoVersion = errors.New("this release of the MCP SDK does not show the protocol version in the request context: use the release named in go.mod")

// legacyVersions returns the revisions with sessions that the SDK speaks,
// newest first.
func legacyVersions() []string {
	return slices.DeleteFunc(mcp.SupportedProtocolVersions(), streamable.Modern)
}

// borrowVersions returns, for each legacy revision, a context from which the
// SDK reads it.
func borrowVersions() (map[string]context.Context, error) {
	borrowed := map[string]context.Context{}
	for _, v := range legacyVersions() {
		ctx, ok := probeVersion(v, nil)
		if !ok {
			return nil, errNoVersion
		}
		borrowed[v] = ctx
	}
	return borrowed, nil
}

// serverVersions returns which of the legacy revisions the server speaks,
// newest first: ServerOptions.SupportedProtocolVersions may have narrowed them,
// and shows in nothing but the answers of the SDK's handler.
func serverVersions(server *mcp.Server) []string {
	return slices.DeleteFunc(legacyVersions(), func(v string) bool {
		_, ok := probeVersion(v, server)
		return !ok
	})
}

// probeVersion sends a request of the revision through a handler of the SDK's,
// and returns the context from which it reads the revision. False: the request
// is refused for its revision, or the revision is not in the context.
func probeVersion(version string, server *mcp.Server) (context.Context, bool) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://localhost/", http.NoBody)
	if err != nil {
		return nil, false
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set(streamable.HeaderVersion, version)

	var shown []context.Context
	h := mcp.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		shown = append(shown, r.Context())
		if len(shown) == 1 {
			return server // asked for the revisions it speaks
		}
		return nil // asked for a session: there will be none
	}, nil)
	h.ServeHTTP(discard{}, r)
	if len(shown) != 2 || shown[0] == shown[1] {
		return nil, false
	}
	return shown[1], true
}

// negotiated returns the revision that a server with these versions answers to
// an initialize that asks for the given one.
func negotiated(asked string, versions []string) string {
	if slices.Contains(versions, asked) {
		return asked
	}
	if len(versions) > 0 {
		return versions[0]
	}
	return streamable.V20251125
}

func unsupportedVersion(versions []string) error {
	return streamable.BadRequest("Bad Request: Unsupported protocol version (supported versions: " + strings.Join(versions, ",") + ")")
}

// discard is a response that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
