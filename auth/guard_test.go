package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	sdkauth "github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/coatcheck-mcp/coatcheck/auth"
)

// verifier accepts "good" with the scope read; "down" cannot be judged.
func verifier(_ context.Context, token string, _ *http.Request) (*sdkauth.TokenInfo, error) {
	switch token {
	case "good":
		return &sdkauth.TokenInfo{UserID: "ann", Scopes: []string{"read"}, Expiration: time.Now().Add(time.Hour)}, nil
	case "old":
		return &sdkauth.TokenInfo{UserID: "ann", Expiration: time.Now().Add(-time.Hour)}, nil
	case "endless":
		return &sdkauth.TokenInfo{UserID: "ann"}, nil
	case "down":
		return nil, errors.New("no answer from the database of tokens")
	}
	return nil, sdkauth.ErrInvalidToken
}

func TestGuardChallenges(t *testing.T) {
	const metadata = `resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"`
	var reasons []auth.Reason
	guard := &auth.Guard{
		Verify: verifier, Scopes: []string{"read"},
		MetadataURL: "https://mcp.example/.well-known/oauth-protected-resource/mcp",
		OnRefusal:   func(_ *http.Request, r auth.Reason) { reasons = append(reasons, r) },
	}
	more := *guard
	more.Scopes = []string{"read", "write"}
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sdkauth.TokenInfoFromContext(r.Context()).UserID != "ann" {
			t.Error("the request was let in as somebody else")
		}
	})
	for name, c := range map[string]struct {
		guard     *auth.Guard
		header    string
		status    int
		challenge string
		reason    auth.Reason
	}{
		"accepted":       {guard, "Bearer good", 200, "", ""},
		"nothing":        {guard, "", 401, `Bearer realm="coatcheck", scope="read", ` + metadata, auth.ReasonMissing},
		"unknown":        {guard, "Bearer bad", 401, `Bearer realm="coatcheck", error="invalid_token", scope="read", ` + metadata, auth.ReasonUnknown},
		"expired":        {guard, "Bearer old", 401, `Bearer realm="coatcheck", error="invalid_token", scope="read", ` + metadata, auth.ReasonExpired},
		"without an end": {guard, "Bearer endless", 401, `Bearer realm="coatcheck", error="invalid_token", scope="read", ` + metadata, auth.ReasonExpired},
		"other scheme":   {guard, "Basic good", 401, `Bearer realm="coatcheck", error="invalid_token", scope="read", ` + metadata, auth.ReasonMalformed},
		"scope missing":  {&more, "Bearer good", 403, `Bearer realm="coatcheck", error="insufficient_scope", scope="read write", ` + metadata, auth.ReasonScope},
		"not judged":     {guard, "Bearer down", 503, "", auth.ReasonUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			reasons = nil
			r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
			if c.header != "" {
				r.Header.Set("Authorization", c.header)
			}
			w := httptest.NewRecorder()
			c.guard.Middleware(next).ServeHTTP(w, r)
			if w.Code != c.status || w.Header().Get("WWW-Authenticate") != c.challenge {
				t.Errorf("got %d %q", w.Code, w.Header().Get("WWW-Authenticate"))
			}
			if c.status == 503 && w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			if c.reason == "" && len(reasons) != 0 || c.reason != "" && !slices.Equal(reasons, []auth.Reason{c.reason}) {
				t.Errorf("reasons %v", reasons)
			}
			if c.reason != "" && !slices.Contains(auth.Reasons(), c.reason) {
				t.Error("the reason is not among all")
			}
		})
	}
}

func TestMetadataOfTheResource(t *testing.T) {
	resource, err := auth.NewResource("https://mcp.example/mcp", []string{acme, globex}, []string{"read"})
	if err != nil {
		t.Fatal(err)
	}
	if got := resource.MetadataURL(); got != "https://mcp.example/.well-known/oauth-protected-resource/mcp" {
		t.Errorf("metadata at %s", got)
	}
	if got := resource.Paths(); !slices.Equal(got, []string{"/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"}) {
		t.Errorf("paths %v", got)
	}
	w := httptest.NewRecorder()
	resource.ServeHTTP(w, httptest.NewRequest(http.MethodGet, resource.Paths()[0], nil))
	var got oauthex.ProtectedResourceMetadata
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || got.Resource != "https://mcp.example/mcp" ||
		!slices.Equal(got.AuthorizationServers, []string{acme, globex}) || !slices.Equal(got.ScopesSupported, []string{"read"}) {
		t.Errorf("got %d %+v", w.Code, got)
	}
	root, err := auth.NewResource("https://mcp.example/", nil, nil)
	if err != nil || len(root.Paths()) != 1 || root.MetadataURL() != "https://mcp.example"+auth.WellKnownPath {
		t.Errorf("got %v, %v", root, err)
	}
}

func TestResourcesThatAreRefused(t *testing.T) {
	for _, resource := range []string{"", "mcp", "ftp://mcp.example", "https://", "https://mcp.example/?x", "https://ann@mcp.example/", "https://mcp.example/#x", `https://mcp.example/"x`} {
		if _, err := auth.NewResource(resource, nil, nil); err == nil {
			t.Errorf("%q is accepted", resource)
		}
	}
	for _, scope := range []string{"", "a b", `a"b`, "ä"} {
		if _, err := auth.NewResource("https://mcp.example/mcp", nil, []string{scope}); err == nil {
			t.Errorf("scope %q is accepted", scope)
		}
	}
}

func TestPrincipalsHaveOneText(t *testing.T) {
	for _, p := range []auth.Principal{
		{Issuer: acme, Subject: "ann"}, {Issuer: acme, Subject: "ann lee"}, {Issuer: "x", Subject: " "}, {Issuer: acme, Subject: "|#"},
	} {
		got, err := auth.ParsePrincipal(p.String())
		if err != nil || got != p {
			t.Errorf("%q: got %+v, %v", p, got, err)
		}
	}
	for _, text := range []string{"", "ann", " ann", acme + " ", acme + " a\nb", acme + " \xff"} {
		if p, err := auth.ParsePrincipal(text); err == nil {
			t.Errorf("%q: got %+v", text, p)
		}
	}
}

func FuzzPrincipal(f *testing.F) {
	f.Add(acme, "ann")
	f.Add("a", "b c")
	f.Fuzz(func(t *testing.T, issuer, subject string) {
		p := auth.Principal{Issuer: issuer, Subject: subject}
		got, err := auth.ParsePrincipal(p.String())
		// No two principals have one text: an issuer has no blank.
		if err == nil && got != p && !strings.ContainsFunc(issuer, unicode.IsSpace) {
			t.Errorf("%q: got %+v", p, got)
		}
	})
}
