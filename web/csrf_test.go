package web_test

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/web"
)

// A guarded site has a form with a token, and a place to post it to.
type guarded struct {
	*site
	csrf *web.CSRF
}

func newGuarded(t testing.TB, opts web.CSRFOptions) *guarded {
	t.Helper()
	g := &guarded{}
	wrap := func(s *site, next http.Handler) http.Handler {
		var err error
		if g.csrf, err = web.NewCSRF(s.manager, opts); err != nil {
			t.Fatal(err)
		}
		return g.csrf.Middleware(next)
	}
	g.site = newSite(t, session.Policy{}, web.Options{Header: "Session-Id"}, wrap)
	g.handle("GET /form", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		field, err := g.csrf.Field(ctx)
		if err == nil {
			fmt.Fprintf(w, `<form method="post">%s</form>`, field)
		}
		return err
	})
	g.handle("POST /form", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		text := r.PostFormValue("text")
		rest, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "text=%s rest=%s", text, rest)
		return err
	})
	return g
}

// token reads the token out of the form.
func (b *browser) token() string {
	b.s.t.Helper()
	m := regexp.MustCompile(`name="csrf_token" value="([^"]*)"`).FindStringSubmatch(b.get("/form").body)
	if m == nil {
		b.s.t.Fatal("the form has no token")
	}
	return html.UnescapeString(m[1])
}

func (b *browser) post(path string, form url.Values, headers ...string) page {
	b.s.t.Helper()
	headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
	return b.do(b.request(http.MethodPost, path, strings.NewReader(form.Encode()), headers...))
}

func TestFormWithItsTokenIsAccepted(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{})
	b := g.browser()
	token := b.token()
	if p := b.post("/form", url.Values{"csrf_token": {token}, "text": {"hello"}}); p.status != 200 || p.body != "text=hello rest=" {
		t.Errorf("%d %q", p.status, p.body)
	}
	if p := b.post("/form", url.Values{"text": {"hello"}}, "X-CSRF-Token", token); p.status != 200 || p.body != "text=hello rest=" {
		t.Errorf("token in the header: %d %q", p.status, p.body)
	}
	// What needs no token is not read either.
	r := b.request(http.MethodPost, "/form", strings.NewReader(`{"a":1}`), "X-CSRF-Token", token, "Content-Type", "application/json")
	if p := b.do(r); p.status != 200 || p.body != `text= rest={"a":1}` {
		t.Errorf("JSON: %d %q", p.status, p.body)
	}
}

func TestMultipartFormWithItsTokenIsAccepted(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{})
	b := g.browser()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, value := range map[string]string{"csrf_token": b.token(), "text": "hello"} {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	file, err := form.CreateFormFile("file", "a.txt")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(file, strings.Repeat("x", 100_000))
	form.Close()
	p := b.do(b.request(http.MethodPost, "/form", &body, "Content-Type", form.FormDataContentType()))
	if p.status != 200 || p.body != "text=hello rest=" {
		t.Errorf("%d %q", p.status, p.body)
	}
}

func TestTokensAreMaskedAnewAndStayGood(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{})
	b := g.browser()
	seen := map[string]bool{}
	var tokens []string
	for range 5 {
		token := b.token()
		if seen[token] {
			t.Fatal("a token shows twice in pages: compressed, they give it away")
		}
		seen[token] = true
		tokens = append(tokens, token)
	}
	if g.site.count() != 1 {
		t.Errorf("five pages made %d sessions", g.site.count())
	}
	for i, token := range tokens {
		if p := b.post("/form", url.Values{"csrf_token": {token}}); p.status != 200 {
			t.Errorf("token %d: %d", i, p.status)
		}
	}
}

func TestGenerateAndVerifyTokens(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{})
	ctx := t.Context()
	ann, err := g.manager.Create(ctx, session.CreateRequest{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	bob, err := g.manager.Create(ctx, session.CreateRequest{User: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := g.csrf.GenerateToken(ctx, ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id    session.ID
		token string
		want  bool
	}{
		"the token":             {ann.ID, token, true},
		"another's session":     {bob.ID, token, false},
		"empty":                 {ann.ID, "", false},
		"changed in the secret": {ann.ID, token[:60] + flipped(token[60:61]) + token[61:], false},
		"changed in the pad":    {ann.ID, flipped(token[:1]) + token[1:], false},
		"cut":                   {ann.ID, token[:len(token)-4], false},
		"line break":            {ann.ID, token[:40] + "\n" + token[40:], false},
		"padded":                {ann.ID, token + "==", false},
		"all zero":              {ann.ID, strings.Repeat("A", 86), false},
		"endless":               {ann.ID, strings.Repeat(token, 10_000), false},
	} {
		got, err := g.csrf.VerifyToken(ctx, c.id, c.token)
		if err != nil || got != c.want {
			t.Errorf("%s: %v %v, want %v", name, got, err, c.want)
		}
	}
	if err := g.manager.Delete(ctx, ann.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := g.csrf.VerifyToken(ctx, ann.ID, token); err != session.ErrNotFound {
		t.Errorf("verify without a session: %v", err)
	}
	if _, err := g.csrf.GenerateToken(ctx, ann.ID); err != session.ErrNotFound {
		t.Errorf("generate without a session: %v", err)
	}
}

// flipped returns another character of the tokens' alphabet.
func flipped(c string) string {
	if c == "A" {
		return "B"
	}
	return "A"
}

func TestSafeMethodsNeedNoToken(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{RequireToken: true})
	b := g.browser()
	b.expect("/signin?user=ann", 200, "")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
		if p := b.do(b.request(method, "/plain", nil, "Sec-Fetch-Site", "cross-site")); p.status != 200 {
			t.Errorf("%s: %d", method, p.status)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, "PURGE", "get"} {
		if p := b.do(b.request(method, "/plain", nil)); p.status != 403 {
			t.Errorf("%s: %d", method, p.status)
		}
	}
}

func TestTokenEndsWithSignIn(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{RequireToken: true})
	b := g.browser()
	before := b.token()
	if p := b.post("/signin?user=ann", url.Values{"csrf_token": {before}}); p.status != 200 {
		t.Fatalf("sign-in: %d", p.status)
	}
	// A form that was opened before: of nobody, or of somebody else.
	if p := b.post("/form", url.Values{"csrf_token": {before}}, "Sec-Fetch-Site", "same-origin"); p.status != 403 {
		t.Errorf("a form from before the sign-in: %d", p.status)
	}
	if p := b.post("/form", url.Values{"csrf_token": {b.token()}}, "Sec-Fetch-Site", "same-origin"); p.status != 200 {
		t.Errorf("a form from after it: %d", p.status)
	}
}

func TestTrustedOriginMayPost(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{TrustedOrigins: []string{"https://partner.example"}})
	b := g.browser()
	for origin, want := range map[string]int{"https://partner.example": 200, "http://partner.example": 403, "https://partner.example.evil.example": 403} {
		if p := b.post("/form", nil, "Origin", origin, "Sec-Fetch-Site", "cross-site"); p.status != want {
			t.Errorf("%s: %d, want %d", origin, p.status, want)
		}
	}
	if _, err := web.NewCSRF(g.manager, web.CSRFOptions{TrustedOrigins: []string{"partner.example"}}); err == nil {
		t.Error("an origin without a scheme was accepted")
	}
	if _, err := web.NewCSRF(g.manager, web.CSRFOptions{Header: "Accept"}); err == nil {
		t.Error("a header that any page may set was accepted")
	}
}

func TestMetaIsForScripts(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{})
	g.handle("GET /meta", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		meta, err := g.csrf.Meta(ctx)
		fmt.Fprint(w, meta)
		return err
	})
	b := g.browser()
	m := regexp.MustCompile(`^<meta name="csrf-token" content="([\w-]{86})">$`).FindStringSubmatch(b.get("/meta").body)
	if m == nil {
		t.Fatal("no meta element")
	}
	if p := b.post("/form", nil, "X-Csrf-Token", m[1]); p.status != 200 {
		t.Errorf("%d", p.status)
	}
}

func TestFormOverItsBoundIsRefused(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{MaxFormBytes: 1000})
	b := g.browser()
	token := b.token()
	form := url.Values{"csrf_token": {token}, "text": {strings.Repeat("x", 1000)}}
	if p := b.post("/form", form); p.status != 413 {
		t.Errorf("length said: %d", p.status)
	}
	r := b.request(http.MethodPost, "/form", io.MultiReader(strings.NewReader(form.Encode())), "Content-Type", "application/x-www-form-urlencoded")
	if p := b.do(r); p.status != 413 {
		t.Errorf("length unsaid: %d", p.status)
	}
	if p := b.post("/form", form, "X-Csrf-Token", token); p.status != 200 {
		t.Errorf("token in the header: %d", p.status)
	}
}

func TestFormThatDoesNotArriveIsGivenUp(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{FormTimeout: 50 * time.Millisecond})
	b := g.browser()
	b.token()
	body, hold := io.Pipe() // nothing is ever written
	defer hold.Close()
	p, err := b.try(b.request(http.MethodPost, "/form", body, "Content-Type", "application/x-www-form-urlencoded"))
	if err == nil && p.status != http.StatusRequestTimeout {
		t.Errorf("got %d, want 408", p.status)
	}
}

// timed notes the read deadlines that are set on a connection.
type timed struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (w *timed) SetReadDeadline(at time.Time) error {
	w.deadlines = append(w.deadlines, at)
	return nil
}

func TestDeadlineOfAFormEndsWhenItIsThere(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{})
	b := g.browser()
	r := httptest.NewRequest(http.MethodPost, "https://example.com/form", strings.NewReader(url.Values{"csrf_token": {b.token()}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.AddCookie(&http.Cookie{Name: web.DefaultCookie, Value: b.id()})
	w := &timed{ResponseRecorder: httptest.NewRecorder()}
	g.server.Config.Handler.ServeHTTP(w, r)
	if w.Code != 200 || len(w.deadlines) != 2 || w.deadlines[0].IsZero() || !w.deadlines[1].IsZero() {
		t.Errorf("%d, deadlines %v: one is to be set, and taken back", w.Code, w.deadlines)
	}
}

func TestOutageDuringTheCheckIsUnavailable(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{})
	b := g.browser()
	token := b.token()
	g.store.set(true)
	defer g.store.set(false)
	if p := b.post("/form", url.Values{"csrf_token": {token}}); p.status != 503 || p.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", p.status, p.header)
	}
}
