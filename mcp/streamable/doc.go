// Package streamable has what every endpoint of the MCP Streamable HTTP
// transport checks alike, whichever SDK or proxy stands behind it: Host and
// Origin, protocol revision and era, the session header, media types, the size
// of the body, and the shape of the message in it.
//
// Each check returns nil or a [*Refusal], which knows its HTTP status and
// writes itself. Nothing here keeps state, starts a goroutine or logs.
//
//	request ─▶ Guard.Check ─▶ Version ─▶ SessionID ─▶ ReadBody ─▶ Scan ─▶ handler
//	              403           400        400         413
//
// Sources: MCP specification, revisions 2025-03-26 to 2026-07-28, "Transports";
// RFC 6454 (Origin), RFC 9110 (HTTP semantics).
package streamable
