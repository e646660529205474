package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coatcheck-mcp/coatcheck/auth"
)

// authFlags say how the principal of a request is verified.
type authFlags struct {
	Auth         authMode `default:"none" help:"How users are verified: none, on loopback only; tokens:FILE with lines TOKEN USER; or jwt:JWKS, signed tokens, with the keys of a file or URL."`
	AuthIssuer   []string `placeholder:"ISSUER[=JWKS]" help:"With jwt: whose tokens are accepted, and with which keys if not those of --auth; comma-separated or repeated."`
	AuthAudience []string `placeholder:"AUDIENCE" help:"With jwt: for whom tokens must be, such as https://mcp.example/mcp; comma-separated or repeated."`
	AuthScope    []string `placeholder:"SCOPE" help:"With jwt: what tokens must be good for, all of it; comma-separated or repeated."`
	AuthResource string   `placeholder:"URL" help:"With jwt: what clients call this endpoint, for the metadata that tell them where to get a token; the first audience that is a URL if not given."`
	AuthLeeway   span     `default:"30s" help:"With jwt: what the issuers' clocks may be off."`
}

// authMode is how principals are verified: not at all, by a tokens file, or by
// the keys that signed tokens.
type authMode struct{ tokens, jwks string }

func (m *authMode) UnmarshalText(text []byte) error {
	how, where, _ := strings.Cut(string(text), ":")
	switch {
	case how == "none" && where == "":
		*m = authMode{}
		return nil
	case how == "tokens" && where != "":
		*m = authMode{tokens: where}
		return nil
	case how == "jwt" && where != "":
		*m = authMode{jwks: where}
		return nil
	}
	return fmt.Errorf("%q is no way to verify users: write none, tokens:FILE or jwt:JWKS-FILE-OR-URL", text)
}

// none reports whether everybody is let in.
func (m authMode) none() bool { return m == authMode{} }

// checkAuth refuses flags that do not go together.
func (f *authFlags) checkAuth(listen listenAddr) error {
	jwt := f.Auth.jwks != ""
	switch {
	case f.Auth.none() && !listen.loopback():
		return usagef("--auth none serves everybody who can connect, so it is for loopback only: write --auth tokens:FILE or --auth jwt:JWKS, or --listen 127.0.0.1:8080")
	case !jwt && (len(f.AuthIssuer) > 0 || len(f.AuthAudience) > 0 || len(f.AuthScope) > 0 || f.AuthResource != ""):
		return usagef("--auth-issuer, --auth-audience, --auth-scope and --auth-resource go with --auth jwt:JWKS: write that too")
	case jwt && len(f.AuthIssuer) == 0:
		return usagef("--auth jwt: says nothing of whose tokens are good: write --auth-issuer ISSUER, the iss of the tokens")
	case jwt && len(f.AuthAudience) == 0:
		return usagef("--auth jwt: takes no token that was given for another service: write --auth-audience AUDIENCE, the aud of the tokens")
	}
	return nil
}

// An identity is what the flags come to.
type identity struct {
	guard    *auth.Guard    // nil: nobody is verified
	resource *auth.Resource // nil: there is nothing to tell
	keys     []*auth.Keys   // to be followed
	warnings []string
}

// openAuth reads the files and URLs that the flags name.
func (f *authFlags) openAuth(ctx context.Context, log *slog.Logger) (*identity, error) {
	switch {
	case f.Auth.tokens != "":
		return openTokens(f.Auth.tokens)
	case f.Auth.jwks != "":
		return f.openJWT(ctx, log)
	}
	return &identity{}, nil
}

func openTokens(path string) (*identity, error) {
	tokens, exposed, err := auth.LoadTokens(path)
	if err != nil {
		return nil, usagef("--auth tokens:FILE: %w", err)
	}
	id := &identity{guard: &auth.Guard{Verify: tokens.Verify}}
	if exposed {
		id.warnings = append(id.warnings, "the tokens file can be read by others: chmod 600 it")
	}
	if n := tokens.Weak(); n > 0 {
		id.warnings = append(id.warnings, fmt.Sprintf("%d tokens are shorter than %d characters and could be guessed", n, auth.WeakTokenBytes))
	}
	return id, nil
}

func (f *authFlags) openJWT(ctx context.Context, log *slog.Logger) (*identity, error) {
	id := &identity{}
	issuers, err := id.openIssuers(ctx, f.AuthIssuer, f.Auth.jwks, log)
	if err != nil {
		return nil, err
	}
	verifier, err := auth.NewJWT(auth.JWTOptions{Issuers: issuers, Audiences: f.AuthAudience, Leeway: time.Duration(f.AuthLeeway)})
	if err != nil {
		return nil, usagef("--auth jwt: %w", err)
	}
	id.guard = &auth.Guard{Verify: verifier.Verify, Scopes: f.AuthScope, Logger: log}
	url := f.resourceURL()
	if url == "" {
		id.warnings = append(id.warnings, "clients are not told where to get a token: write --auth-resource URL, what they call this endpoint")
		return id, nil
	}
	var names []string
	for _, issuer := range issuers {
		names = append(names, issuer.Name)
	}
	if id.resource, err = auth.NewResource(url, names, f.AuthScope); err != nil {
		return nil, usagef("--auth-resource and --auth-scope: %w", err)
	}
	id.guard.MetadataURL = id.resource.MetadataURL()
	return id, nil
}

// openIssuers reads the keys of each issuer, once from each place.
func (id *identity) openIssuers(ctx context.Context, flags []string, jwks string, log *slog.Logger) ([]auth.Issuer, error) {
	opened := map[string]*auth.Keys{}
	var issuers []auth.Issuer
	for _, flag := range flags {
		name, source, _ := strings.Cut(flag, "=")
		if source == "" {
			source = jwks
		}
		keys := opened[source]
		if keys == nil {
			var err error
			if keys, err = auth.OpenKeys(ctx, source, auth.KeysOptions{Logger: log}); err != nil {
				return nil, keysError(source, err)
			}
			opened[source] = keys
			id.keys = append(id.keys, keys)
		}
		issuers = append(issuers, auth.Issuer{Name: name, Keys: keys})
	}
	return issuers, nil
}

// keysError tells a file that is wrong from a server that does not answer.
func keysError(source string, err error) error {
	if strings.HasPrefix(source, "https://") || strings.HasPrefix(source, "http://") {
		return fmt.Errorf("--auth jwt: %w", err)
	}
	return usagef("--auth jwt: %w", err)
}

// resourceURL is what clients call this endpoint, as far as the flags say.
func (f *authFlags) resourceURL() string {
	if f.AuthResource != "" {
		return f.AuthResource
	}
	for _, a := range f.AuthAudience {
		if strings.HasPrefix(a, "https://") || strings.HasPrefix(a, "http://") {
			return a
		}
	}
	return ""
}

// protect lets only verified requests through, and has mux tell others where to
// get a token.
func (id *identity) protect(next http.Handler, mux *http.ServeMux, onRefusal func(*http.Request, auth.Reason)) http.Handler {
	if id.resource != nil {
		for _, path := range id.resource.Paths() {
			mux.Handle(path, id.resource)
		}
	}
	if id.guard == nil {
		return next
	}
	id.guard.OnRefusal = onRefusal
	return id.guard.Middleware(next)
}

// follow reads the keys again and again, until ctx ends.
func (id *identity) follow(ctx context.Context) error {
	var work errgroup.Group
	for _, keys := range id.keys {
		work.Go(func() error { return keys.Run(ctx) })
	}
	return work.Wait()
}
