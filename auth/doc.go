// Package auth says who a request comes from.
//
// A verifier turns the credentials of a request into a principal, and its
// middleware hands that on as the official SDK's [auth.TokenInfo], which is
// what mcp/gosdk binds sessions to. A session is never a credential: every
// request is verified, whatever session it names.
//
// [Tokens] verifies bearer tokens from a file, [JWT] those that an
// authorization server has signed, with [Keys] that follow its rotation. A
// [Guard] is the middleware, and a [Resource] tells clients where to get a
// token (RFC 9728).
//
//	request ─▶ Guard ─▶ Verify ─▶ TokenInfo{UserID: "issuer subject"} ─▶ handler
//	             │ 401 with resource_metadata
//	             └ 403 insufficient_scope, 503 keys unavailable
//
// JWTs are parsed by go-jose: its functions make one name the algorithms, its
// JSON decoder refuses duplicate members, and it depends on nothing else.
//
// [auth.TokenInfo]: https://pkg.go.dev/github.com/modelcontextprotocol/go-sdk/auth#TokenInfo
package auth
