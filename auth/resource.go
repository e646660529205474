package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	sdkauth "github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// WellKnownPath is where the metadata of a protected resource lies (RFC 9728).
const WellKnownPath = "/.well-known/oauth-protected-resource"

// A Resource is this server as OAuth clients know it: what it is called, and
// who gives tokens for it.
type Resource struct {
	url     *url.URL
	handler http.Handler
}

// NewResource returns the resource of that URL, which is what clients connect
// to, such as https://mcp.example/mcp. Issuers are the authorization servers,
// scopes what tokens need; both are published.
func NewResource(resource string, issuers, scopes []string) (*Resource, error) {
	u, err := url.Parse(resource)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("a resource is the URL that clients connect to, such as https://mcp.example/mcp")
	case u.Fragment != "" || u.RawQuery != "" || u.User != nil || strings.ContainsAny(resource, "\"\\ "):
		return nil, errors.New("the URL of a resource has neither query, fragment nor user")
	}
	for _, scope := range scopes {
		if err := checkScope(scope); err != nil {
			return nil, err
		}
	}
	return &Resource{url: u, handler: sdkauth.ProtectedResourceMetadataHandler(&oauthex.ProtectedResourceMetadata{
		Resource:               resource,
		AuthorizationServers:   issuers,
		ScopesSupported:        scopes,
		BearerMethodsSupported: []string{"header"},
	})}, nil
}

// checkScope refuses what is no scope-token (RFC 6749, 3.3).
func checkScope(scope string) error {
	for i := range len(scope) {
		if c := scope[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return fmt.Errorf("a scope has visible ASCII characters, but no quotes and backslashes")
		}
	}
	if scope == "" {
		return errors.New("a scope is not empty")
	}
	return nil
}

// MetadataURL is where clients find the metadata.
func (r *Resource) MetadataURL() string {
	return r.url.Scheme + "://" + r.url.Host + WellKnownPath + r.path()
}

// Paths are the paths under which [Resource.ServeHTTP] has to be reached: that
// of the MetadataURL, and the one without the resource's own path, at which
// clients look too.
func (r *Resource) Paths() []string {
	if r.path() == "" {
		return []string{WellKnownPath}
	}
	return []string{WellKnownPath + r.path(), WellKnownPath}
}

func (r *Resource) path() string { return strings.TrimSuffix(r.url.EscapedPath(), "/") }

// ServeHTTP serves the metadata, to everybody.
func (r *Resource) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.handler.ServeHTTP(w, req) }
