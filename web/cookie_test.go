package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/web"
)

func newSessions(t *testing.T, opts web.Options) (*web.Sessions, error) {
	t.Helper()
	store := memory.New(memory.Options{})
	t.Cleanup(func() { _ = store.Close() })
	m, err := session.NewManager(store, session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return web.New(m, opts)
}

func TestCookieThatBrowsersWouldNotKeepIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		cookie web.Cookie
		want   string
	}{
		"zero":                       {web.Cookie{}, ""},
		"another name":               {web.Cookie{Name: "__Host-sid"}, ""},
		"no prefix":                  {web.Cookie{Name: "sid"}, ""},
		"domain without a prefix":    {web.Cookie{Name: "__Secure-sid", Domain: "example.com"}, ""},
		"partitioned":                {web.Cookie{Partitioned: true, SameSite: http.SameSiteNoneMode}, ""},
		"insecure":                   {web.Cookie{Insecure: true}, ""},
		"domain":                     {web.Cookie{Domain: "example.com"}, "allows no domain"},
		"path":                       {web.Cookie{Path: "/app"}, "needs the path /"},
		"relative path":              {web.Cookie{Name: "sid", Path: "app"}, "does not begin with /"},
		"insecure with __Host-":      {web.Cookie{Name: "__Host-sid", Insecure: true}, "needs Secure"},
		"insecure with __Secure-":    {web.Cookie{Name: "__Secure-sid", Insecure: true}, "needs Secure"},
		"insecure with __Http-":      {web.Cookie{Name: "__Http-sid", Insecure: true}, "needs Secure"},
		"prefix in lower case":       {web.Cookie{Name: "__host-sid", Domain: "example.com"}, "write the prefix __Host-"},
		"prefix in upper case":       {web.Cookie{Name: "__SECURE-sid"}, "write the prefix __Secure-"},
		"SameSite unsaid":            {web.Cookie{SameSite: http.SameSiteDefaultMode}, "SameSite must be"},
		"SameSite of the future":     {web.Cookie{SameSite: 9}, "SameSite must be"},
		"SameSite=None and insecure": {web.Cookie{Insecure: true, SameSite: http.SameSiteNoneMode}, "needs Secure"},
		"partitioned and insecure":   {web.Cookie{Insecure: true, Partitioned: true}, "needs Secure"},
		"name with a blank":          {web.Cookie{Name: "my session"}, "invalid Cookie.Name"},
		"name with a separator":      {web.Cookie{Name: "a;b"}, "invalid Cookie.Name"},
		"domain with a semicolon":    {web.Cookie{Name: "sid", Domain: "example.com; Secure"}, "invalid Cookie.Domain"},
		"name too long":              {web.Cookie{Name: strings.Repeat("n", 4000)}, "more than 4096"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newSessions(t, web.Options{Cookie: c.cookie})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestHeaderThatOthersWriteIsRefused(t *testing.T) {
	for header, want := range map[string]string{
		"Session-Id":      "",
		"x-session":       "",
		"cookie":          "others write it",
		"Authorization":   "others write it",
		"accept":          "others write it",
		"mcp-session-id":  "others write it",
		"sec-fetch-site":  "begins with Sec-",
		"X-Forwarded-For": "begins with X-Forwarded-",
		"Session Id":      "no name of a header",
		"Session-Id:":     "no name of a header",
		"Sitzung-Nr-ü":    "no name of a header",
	} {
		_, err := newSessions(t, web.Options{Header: header})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", header, err, want)
		}
	}
	if _, err := newSessions(t, web.Options{HeaderOnly: true}); err == nil {
		t.Error("neither cookie nor header was accepted")
	}
	if _, err := newSessions(t, web.Options{ClearSiteData: []string{"everything"}}); err == nil {
		t.Error("a type of Clear-Site-Data that browsers do not know was accepted")
	}
}

func TestCookieKeepsWhatItIsAskedFor(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{Cookie: web.Cookie{
		Name: "__Host-app", SameSite: http.SameSiteNoneMode, Partitioned: true, Persistent: true,
	}}, nil)
	p := s.browser().get("/count")
	_, attributes, _ := strings.Cut(p.header.Get("Set-Cookie"), ";")
	if want := " Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=None; Partitioned"; attributes != want {
		t.Errorf("attributes %q, want %q", attributes, want)
	}
}

func TestInsecureCookiesAreForThisMachineAlone(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{Cookie: web.Cookie{Insecure: true}}, nil)
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "app.localhost": 200, "127.0.0.1:80": 200, "[::1]:80": 200,
		"example.com": 403, "localhost.example.com": 403, "192.168.0.1": 403, "localhostx": 403,
	} {
		b := s.browser()
		r := b.request(http.MethodGet, "/count", nil)
		r.Host = host
		p := b.do(r)
		if p.status != want {
			t.Errorf("host %s: %d, want %d", host, p.status, want)
		}
		if want == 200 && !strings.HasPrefix(p.header.Get("Set-Cookie"), "session=") {
			t.Errorf("host %s: no cookie of the name session", host)
		}
		if want == 200 && strings.Contains(p.header.Get("Set-Cookie"), "Secure") {
			t.Errorf("host %s: the cookie is Secure", host)
		}
	}
}

func TestSessionCookieIsTakenOffTheRequest(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{Header: "Session-Id"}, nil)
	seen := make(chan http.Header, 1)
	s.mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) {
		_, _ = web.FromContext(r.Context()).User(r.Context())
		seen <- r.Header
	})
	b := s.browser()
	b.expect("/count", 200, "1")
	b.do(b.request(http.MethodGet, "/seen", nil, "Cookie", "theme=dark; lang=de"))
	got := <-seen
	if cookies := strings.Join(got["Cookie"], "|"); cookies != "theme=dark; lang=de" {
		t.Errorf("the handler sees the cookies %q", cookies)
	}
	r := b.request(http.MethodGet, "/seen", nil, "Session-Id", b.id())
	if p, err := s.browser().try(r); err != nil || p.status != 200 {
		t.Fatal(p.status, err)
	}
	if got := <-seen; got.Get("Session-Id") != "" {
		t.Error("the handler sees the session header")
	}
}
