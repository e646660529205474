package auth

import (
	"net/http"

	sdkauth "github.com/modelcontextprotocol/go-sdk/auth"
)

// challenges of a 401 (RFC 6750, section 3). A request without credentials is
// not told of an error, so that clients know to present some.
const (
	challengeMissing = `Bearer realm="coatcheck"`
	challengeInvalid = `Bearer realm="coatcheck", error="invalid_token"`
)

// Middleware lets through to next only requests with a bearer token that
// verify accepts. They carry the SDK's TokenInfo in their context. All others
// are answered 401 with a WWW-Authenticate header (RFC 6750, section 3).
// Several Authorization headers are refused: it must be clear which one counts.
func Middleware(verify sdkauth.TokenVerifier, next http.Handler) http.Handler {
	// Only the SDK can put a TokenInfo where its TokenInfoFromContext finds
	// it. It answers 401 itself but without the header, so the header is set
	// before and taken back once the request is let in.
	admitted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Del("WWW-Authenticate")
		next.ServeHTTP(w, r)
	})
	guarded := sdkauth.RequireBearerToken(verify, nil)(admitted)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Values("Authorization")
		if len(given) == 0 {
			w.Header().Set("WWW-Authenticate", challengeMissing)
		} else {
			w.Header().Set("WWW-Authenticate", challengeInvalid)
		}
		if len(given) > 1 {
			http.Error(w, "more than one Authorization header", http.StatusUnauthorized)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// Middleware is [Middleware] with these tokens.
func (t *Tokens) Middleware(next http.Handler) http.Handler { return Middleware(t.Verify, next) }
