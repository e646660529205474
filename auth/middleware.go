package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	sdkauth "github.com/modelcontextprotocol/go-sdk/auth"
)

// A Guard lets in only requests with a bearer token (RFC 6750) that is
// accepted. It is not changed once in use and may be shared.
type Guard struct {
	// Verify judges tokens: [Tokens.Verify], [JWT.Verify] or one of your own.
	Verify sdkauth.TokenVerifier
	// Scopes are what a token must all have; without one of them: 403.
	Scopes []string
	// MetadataURL says in challenges where clients learn how to get a token:
	// [Resource.MetadataURL]. Empty: it is not said.
	MetadataURL string
	// OnRefusal is told of each request that is not let in, and why. It must
	// be quick. Nil: nobody is.
	OnRefusal func(*http.Request, Reason)
	// Logger is told when tokens could not be judged. Nil: nobody is.
	Logger *slog.Logger
}

// Middleware lets through to next only requests with a bearer token that
// verify accepts; see [Guard.Middleware].
func Middleware(verify sdkauth.TokenVerifier, next http.Handler) http.Handler {
	return (&Guard{Verify: verify}).Middleware(next)
}

// Middleware is [Middleware] with these tokens.
func (t *Tokens) Middleware(next http.Handler) http.Handler { return Middleware(t.Verify, next) }

// Middleware lets through to next only requests with a token that is accepted.
// They carry the SDK's TokenInfo in their context. Others are answered 401, or
// 403 if only a scope is missing, with a WWW-Authenticate header (RFC 6750,
// section 3; RFC 9728, section 5.1); 503 if the token could not be judged.
// Several Authorization headers are refused: it must be clear which one counts.
func (g *Guard) Middleware(next http.Handler) http.Handler {
	// Only the SDK can put a TokenInfo where its TokenInfoFromContext finds
	// it: it is asked to verify what has been verified.
	admit := sdkauth.RequireBearerToken(verified, nil)(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, reason := g.judge(r)
		if reason != "" {
			g.refuse(w, r, reason)
			return
		}
		admit.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), verifiedKey{}, info)))
	})
}

// verifiedKey holds the TokenInfo of a request that has been let in.
type verifiedKey struct{}

func verified(ctx context.Context, _ string, _ *http.Request) (*sdkauth.TokenInfo, error) {
	info, ok := ctx.Value(verifiedKey{}).(*sdkauth.TokenInfo)
	if !ok {
		return nil, sdkauth.ErrInvalidToken
	}
	return info, nil
}

// judge returns what the token says, or why the request is not let in.
func (g *Guard) judge(r *http.Request) (*sdkauth.TokenInfo, Reason) {
	token, reason := bearer(r)
	if reason != "" {
		return nil, reason
	}
	info, err := g.Verify(r.Context(), token, r)
	if err != nil {
		reason := reasonOf(err)
		if reason == ReasonUnavailable && g.Logger != nil && !errors.Is(err, context.Canceled) {
			g.Logger.ErrorContext(r.Context(), "a token could not be judged", "error", err)
		}
		return nil, reason
	}
	if !info.Expiration.After(time.Now()) {
		return nil, ReasonExpired
	}
	for _, scope := range g.Scopes {
		if !slices.Contains(info.Scopes, scope) {
			return nil, ReasonScope
		}
	}
	return info, ""
}

// bearer returns the token of the request.
func bearer(r *http.Request) (string, Reason) {
	given := r.Header.Values("Authorization")
	switch {
	case len(given) == 0:
		return "", ReasonMissing
	case len(given) > 1:
		return "", ReasonAmbiguous
	}
	fields := strings.Fields(given[0])
	if len(fields) != 2 || !strings.EqualFold(fields[0], "bearer") {
		return "", ReasonMalformed
	}
	return fields[1], ""
}

func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, reason Reason) {
	if g.OnRefusal != nil {
		g.OnRefusal(r, reason)
	}
	switch reason {
	case ReasonUnavailable:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "credentials cannot be judged now, try again", http.StatusServiceUnavailable)
	case ReasonScope:
		w.Header().Set("WWW-Authenticate", g.challenge("insufficient_scope"))
		http.Error(w, "the token lacks a scope", http.StatusForbidden)
	case ReasonMissing:
		// Who presented nothing is not told of an error, so that clients know
		// to present something.
		w.Header().Set("WWW-Authenticate", g.challenge(""))
		http.Error(w, "no bearer token", http.StatusUnauthorized)
	case ReasonAmbiguous:
		w.Header().Set("WWW-Authenticate", g.challenge("invalid_token"))
		http.Error(w, "more than one Authorization header", http.StatusUnauthorized)
	default:
		w.Header().Set("WWW-Authenticate", g.challenge("invalid_token"))
		http.Error(w, "invalid token", http.StatusUnauthorized)
	}
}

// challenge returns the value of WWW-Authenticate.
func (g *Guard) challenge(problem string) string {
	parts := []string{`Bearer realm="coatcheck"`}
	if problem != "" {
		parts = append(parts, `error="`+problem+`"`)
	}
	if len(g.Scopes) > 0 {
		parts = append(parts, `scope="`+strings.Join(g.Scopes, " ")+`"`)
	}
	if g.MetadataURL != "" {
		parts = append(parts, `resource_metadata="`+g.MetadataURL+`"`)
	}
	return strings.Join(parts, ", ")
}
