package web_test

import (
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/web"
)

// A target is a site without a network, with a session of ann's.
type target struct {
	handler http.Handler
	manager *session.Manager
	ann     *session.Session
	seen    http.Header // what the handler got
	user    string
}

func newTarget(f *testing.F) *target {
	f.Helper()
	store := memory.New(memory.Options{})
	f.Cleanup(func() { _ = store.Close() })
	var err error
	t := &target{}
	if t.manager, err = session.NewManager(store, session.Options{}); err != nil {
		f.Fatal(err)
	}
	if t.ann, err = t.manager.Create(f.Context(), session.CreateRequest{User: "ann"}); err != nil {
		f.Fatal(err)
	}
	sessions, err := web.New(t.manager, web.Options{Header: "Session-Id"})
	if err != nil {
		f.Fatal(err)
	}
	t.handler = sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.seen = r.Header
		if t.user, err = web.FromContext(r.Context()).User(r.Context()); err != nil {
			web.Error(w, err)
		}
	}))
	return t
}

// get returns the status, and whose session was found.
func (t *target) get(header http.Header) (status int, user string) {
	r := httptest.NewRequest(http.MethodGet, "https://example.com/", nil)
	r.Header = header
	t.user, t.seen = "", nil
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, r)
	return w.Code, t.user
}

// FuzzCookieHeader: two Cookie headers with "ID" where the id goes.
func FuzzCookieHeader(f *testing.F) {
	const name = web.DefaultCookie
	for _, seed := range [][2]string{
		{name + "=ID", ""}, {"a=b; " + name + "=ID; c=d", "e=f"}, {name + "=ID", name + "=ID"}, {name + "=ID; " + name + "=x", ""},
		{name + `="ID"`, ""}, {`a="; ` + name + `=ID"`, ""}, {name + " = ID ", "\t;"}, {"=" + name + "=ID", name + "=ID"}, {name, name + "=ID"},
		{"__host-session=ID", ""}, {name + "=ID,", ""}, {name + "=ID;" + name, ";;=;"}, {"\x00" + name + "=ID", "\xff"},
	} {
		f.Add(seed[0], seed[1])
	}
	target := newTarget(f)
	id := target.ann.ID.Reveal()
	f.Fuzz(func(t *testing.T, first, second string) {
		lines := []string{strings.ReplaceAll(first, "ID", id), strings.ReplaceAll(second, "ID", id)}
		status, user := target.get(http.Header{"Cookie": lines})

		named, exact := 0, 0
		for _, line := range lines {
			for pair := range strings.SplitSeq(line, ";") {
				key, value, _ := strings.Cut(pair, "=")
				if strings.Trim(key, " \t\r\n") != name {
					continue
				}
				named++
				if strings.Trim(value, " \t\r\n") == id {
					exact++
				}
			}
		}
		wantStatus, wantUser := 200, ""
		switch {
		case named > 1:
			wantStatus = 400
		case exact == 1:
			wantUser = "ann"
		}
		if status != wantStatus || user != wantUser {
			t.Fatalf("%d %q, want %d %q", status, user, wantStatus, wantUser)
		}
		// net/http must not see more in it than we do.
		r := &http.Request{Header: http.Header{"Cookie": lines}}
		if n := len(r.CookiesNamed(name)); n > named {
			t.Fatalf("net/http finds %d cookies, we %d", n, named)
		}
		if status != 200 {
			return
		}
		left := &http.Request{Header: target.seen}
		if len(left.CookiesNamed(name)) > 0 {
			t.Fatal("the handler gets the cookie")
		}
		var want, got []string
		for _, c := range r.Cookies() {
			if c.Name != name {
				want = append(want, c.String())
			}
		}
		for _, c := range left.Cookies() {
			got = append(got, c.String())
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("the handler gets the cookies %q, want %q", got, want)
		}
	})
}

// FuzzSessionHeader: up to two session headers with "ID" where the id goes, and
// a cookie.
func FuzzSessionHeader(f *testing.F) {
	f.Add("ID", "", false, "")
	f.Add("ID", "ID", true, "")
	f.Add("ID,", "", false, "")
	f.Add("new", "", false, web.DefaultCookie+"=ID")
	f.Add("", "", false, "a=b")
	f.Add(" ID", "", false, "")
	f.Add("ID\x00", "", false, "")
	f.Add("id", "", false, "")
	target := newTarget(f)
	id := target.ann.ID.Reveal()
	f.Fuzz(func(t *testing.T, first, second string, twice bool, cookie string) {
		values := []string{strings.ReplaceAll(first, "ID", id)}
		if twice {
			values = append(values, strings.ReplaceAll(second, "ID", id))
		}
		header := http.Header{"Session-Id": values}
		if cookie != "" {
			header["Cookie"] = []string{strings.ReplaceAll(cookie, "ID", id)}
		}
		status, user := target.get(header)
		if user != "" && (twice || values[0] != id) {
			t.Fatal("something else than the id opens the session")
		}
		if status != 200 && status != 400 {
			t.Fatalf("status %d", status)
		}
		if (twice || strings.Contains(values[0], ",")) && status != 400 {
			t.Fatal("more than one value was accepted")
		}
		if r := (&http.Request{Header: header}); len(r.CookiesNamed(web.DefaultCookie)) > 0 && status != 400 {
			t.Fatal("header and cookie were accepted")
		}
		if status == 200 && target.seen.Get("Session-Id") != "" {
			t.Fatal("the handler gets the header")
		}
	})
}

// FuzzCSRFToken: a token is what masks the secret, in exactly one spelling.
func FuzzCSRFToken(f *testing.F) {
	target := newTarget(f)
	csrf, err := web.NewCSRF(target.manager, web.CSRFOptions{})
	if err != nil {
		f.Fatal(err)
	}
	ctx, id := f.Context(), target.ann.ID
	token, err := csrf.GenerateToken(ctx, id)
	if err != nil {
		f.Fatal(err)
	}
	s, err := target.manager.Get(ctx, id)
	if err != nil {
		f.Fatal(err)
	}
	var secret []byte
	if found, err := s.Get("coatcheck:csrf", &secret); !found || err != nil {
		f.Fatal(found, err)
	}
	for _, seed := range []string{"", token, token + "=", token[:85], "\n" + token, strings.Repeat("A", 86), strings.Repeat("-", 86), strings.Repeat("_", 172)} {
		f.Add(seed, uint8(0))
	}
	f.Add("", uint8(1))
	f.Add(token[:20], uint8(1))
	f.Fuzz(func(t *testing.T, text string, mode uint8) {
		if mode%2 == 1 { // a right one, under the pad that text gives
			raw := make([]byte, 2*len(secret))
			copy(raw[:len(secret)], text)
			subtle.XORBytes(raw[len(secret):], raw, secret)
			text = base64.RawURLEncoding.EncodeToString(raw)
		}
		raw, err := base64.RawURLEncoding.DecodeString(text)
		want := err == nil && len(raw) == 2*len(secret) && base64.RawURLEncoding.EncodeToString(raw) == text
		if want {
			got := make([]byte, len(secret))
			subtle.XORBytes(got, raw[:len(secret)], raw[len(secret):])
			want = string(got) == string(secret)
		}
		got, err := csrf.VerifyToken(ctx, id, text)
		if err != nil || got != want {
			t.Fatalf("verified %v, want %v: %v", got, want, err)
		}
		if mode%2 == 1 && !got {
			t.Fatal("a right token was refused")
		}
	})
}
