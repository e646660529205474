package streamable

import "net/http"

// Revisions of the specification in which the transport changed. Revisions
// are dates and order as strings do.
const (
	// V20250326 has batches and no version header.
	V20250326 = "2025-03-26"
	// V20250618 drops batches and brings the version header.
	V20250618 = "2025-06-18"
	// V20251125 brings priming events and retry hints.
	V20251125 = "2025-11-25"
	// V20260728 drops sessions: the modern era.
	V20260728 = "2026-07-28"
)

// Names of headers, in canonical form.
const (
	HeaderVersion     = "Mcp-Protocol-Version"
	HeaderSession     = "Mcp-Session-Id"
	HeaderMethod      = "Mcp-Method"
	HeaderLastEventID = "Last-Event-Id"
)

// Modern reports whether a revision belongs to the modern era, in which there
// are no protocol sessions. Text that is no revision is left to whoever serves
// the era it falls into.
func Modern(version string) bool { return version >= V20260728 }

// Version returns the MCP-Protocol-Version header, or "" without one. More
// than one is refused: which of them counts would be anybody's guess.
func Version(r *http.Request) (string, error) {
	v, ok := single(r.Header, HeaderVersion)
	if !ok {
		return "", BadRequest("Bad Request: more than one MCP-Protocol-Version header")
	}
	return v, nil
}

// single returns the only value of a header, "" if there is none, and false if
// there are several.
func single(h http.Header, name string) (string, bool) {
	switch values := h[name]; len(values) {
	case 0:
		return "", true
	case 1:
		return values[0], true
	}
	return "", false
}
