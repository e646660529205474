package web_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/web"
)

// A request that another site starts comes without a Strict cookie. Whatever
// would conclude from that that there is no session must not be done.
func TestLinkFromAnotherSiteDoesNotReplaceTheSession(t *testing.T) {
	link := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	image := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}
	own := []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	sibling := []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	const reopened, refused, done = "reopened", "refused", "done"
	for _, c := range []struct {
		what     string
		sameSite http.SameSite
		path     string
		headers  []string
		want     string
	}{
		{"a link", http.SameSiteStrictMode, "/count", link, reopened},
		{"a link to what needs a sign-in", http.SameSiteStrictMode, "/mine", link, reopened},
		{"a link to sign out", http.SameSiteStrictMode, "/signout", link, reopened},
		{"a link to what only reads", http.SameSiteStrictMode, "/whoami", link, done},
		{"a link to what uses no session", http.SameSiteStrictMode, "/plain", link, done},
		{"the way back from an identity provider", http.SameSiteStrictMode, "/signin?user=ann", link, done},
		{"an image", http.SameSiteStrictMode, "/count", image, refused},
		{"an image to sign out", http.SameSiteStrictMode, "/signout", image, refused},
		{"the same page again", http.SameSiteStrictMode, "/count", own, done},
		{"a neighbour's link", http.SameSiteStrictMode, "/count", sibling, done},
		{"no browser", http.SameSiteStrictMode, "/count", nil, done},
		{"a link, Lax", http.SameSiteLaxMode, "/count", link, done},
		{"an image, Lax", http.SameSiteLaxMode, "/count", image, refused},
		{"an image, None", http.SameSiteNoneMode, "/count", image, done},
	} {
		s := newSite(t, session.Policy{}, web.Options{Cookie: web.Cookie{SameSite: c.sameSite}}, nil)
		s.mux.Handle("/mine", web.Require{}.Middleware(http.NotFoundHandler()))
		p := s.browser().get(c.path, c.headers...)
		got := done
		switch {
		case p.status == 200 && p.header.Get("Refresh") == "0":
			got = reopened
		case p.status == 403:
			got = refused
		}
		if got != c.want {
			t.Errorf("%s: %s (%d), want %s", c.what, got, p.status, c.want)
		}
		if got != done && (len(p.header["Set-Cookie"]) > 0 || p.header.Get("Clear-Site-Data") != "" || s.count() > 0) {
			t.Errorf("%s: header %v, %d sessions", c.what, p.header, s.count())
		}
	}
}

func TestLinkFromAnotherSiteWithItsCookieIsServed(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	s.handle("/mine", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		_, err := io.WriteString(w, "mine")
		return err
	})
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	// An old browser that does not know of SameSite.
	if p := b.get("/count", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); p.body != "1" {
		t.Errorf("%d %q", p.status, p.body)
	}
}
