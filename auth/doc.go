// Package auth says who a request comes from.
//
// A verifier turns the credentials of a request into a principal, and its
// middleware hands that on as the official SDK's [auth.TokenInfo], which is
// what mcp/gosdk binds sessions to. A session is never a credential: every
// request is verified, whatever session it names.
//
// [Tokens] verifies bearer tokens from a file. It depends on net/http and the
// SDK's auth package only.
//
// [auth.TokenInfo]: https://pkg.go.dev/github.com/modelcontextprotocol/go-sdk/auth#TokenInfo
package auth
