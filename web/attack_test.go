package web_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/web"
)

// madeUp returns an id that nobody issued.
func madeUp(t testing.TB) string {
	t.Helper()
	ref, err := state.NewRef(7, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ref.String() + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
}

// raw sends a request as it is written, and returns the answer.
func (s *site) raw(lines ...string) page {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.server.Listener.Addr().String(), s.server.Client().Transport.(*http.Transport).TLSClientConfig.Clone())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	lines = append(lines, "Connection: close", "", "")
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return page{status: res.StatusCode, header: res.Header, body: string(body)}
}

func TestAttackFixationByCookie(t *testing.T) {
	for name, plant := range map[string]func(s *site) string{
		"made up": func(s *site) string { return madeUp(t) },
		"the attacker's, anonymous": func(s *site) string {
			b := s.browser()
			b.expect("/count", 200, "1")
			return b.id()
		},
		"the attacker's, signed in": func(s *site) string {
			b := s.browser()
			b.expect("/signin?user=eve", 200, "")
			return b.id()
		},
		"no id at all": func(s *site) string { return "admin" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, session.Policy{}, web.Options{}, nil)
			planted := plant(s)
			victim, attacker := s.browser(), s.browser()
			victim.hold(planted)
			attacker.hold(planted)
			victim.expect("/signin?user=ann", 200, "")
			victim.expect("/whoami", 200, "ann")
			if victim.id() == planted {
				t.Fatal("the planted id was adopted")
			}
			if got := attacker.get("/whoami").body; got == "ann" {
				t.Error("the attacker is in")
			}
		})
	}
}

func TestAttackFixationByHeader(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{Header: "Session-Id"}, nil)
	attacker := s.browser()
	anonymous := attacker.get("/count", "Session-Id", web.NewSession).header.Get("Session-Id")
	for name, planted := range map[string]string{"made up": madeUp(t), "anonymous": anonymous, "no id": "1"} {
		p := attacker.get("/signin?user=ann", "Session-Id", planted)
		id := p.header.Get("Session-Id")
		if p.status != 200 || id == "" || id == planted || len(p.header["Set-Cookie"]) > 0 {
			t.Errorf("%s: %d, header %v", name, p.status, p.header)
		}
		if got := attacker.get("/whoami", "Session-Id", planted).body; got != "nobody" {
			t.Errorf("%s: the planted id opens the session of %s", name, got)
		}
		if got := attacker.get("/whoami", "Session-Id", id).body; got != "ann" {
			t.Errorf("%s: the new id opens the session of %s", name, got)
		}
	}
}

// A request that has the session in hand while it is signed out elsewhere must
// neither bring it back nor give its browser another one.
func TestAttackReplayAfterSignOutWhileARequestIsInFlight(t *testing.T) {
	for name, first := range map[string]func(context.Context, *web.Session) error{
		"loaded before": func(ctx context.Context, own *web.Session) error { _, err := own.Load(ctx); return err },
		"updated before": func(ctx context.Context, own *web.Session) error {
			return own.Set(ctx, "k", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, session.Policy{}, web.Options{}, nil)
			inHand, goOn := make(chan struct{}), make(chan struct{})
			s.handle("/inflight", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
				own := web.FromContext(ctx)
				if err := first(ctx, own); err != nil {
					return err
				}
				close(inHand)
				<-goOn
				if err := own.Set(ctx, "k", 2); err != session.ErrNotFound {
					t.Errorf("update after the sign-out: %v", err)
				}
				if _, err := own.Refresh(ctx); err != session.ErrNotFound {
					t.Errorf("refresh after the sign-out: %v", err)
				}
				return own.Set(ctx, "k", 3)
			})
			b := s.browser()
			b.expect("/signin?user=ann", 200, "")
			id := b.id()
			other := s.browser()
			other.hold(id)

			answer := make(chan page)
			go func() {
				p, err := other.try(other.request(http.MethodGet, "/inflight", nil))
				if err != nil {
					t.Error(err)
				}
				answer <- p
			}()
			<-inHand
			b.expect("/signout", 200, "")
			close(goOn)
			if p := <-answer; p.status != 401 || len(p.header["Set-Cookie"]) > 0 {
				t.Errorf("%d, cookies %d", p.status, len(p.header["Set-Cookie"]))
			}
			if s.count() != 0 {
				t.Error("there is a session again")
			}
			other.expect("/whoami", 200, "nobody")
		})
	}
}

// The fault of scs: a request that only reads writes the session back, to slide
// its idle timeout, after it was ended.
func TestAttackResurrectionByTouch(t *testing.T) {
	s := newSite(t, session.Policy{TouchInterval: time.Minute}, web.Options{}, nil)
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	id, err := session.ParseID(b.id())
	if err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(time.Minute)
	s.store.onEach(func(op string) {
		if op == "touch" { // just before it arrives
			s.store.onEach(nil)
			if _, err := s.manager.Revoke(t.Context(), id.Ref(), state.ReasonRevoked, "test"); err != nil {
				t.Error(err)
			}
		}
	})
	b.expect("/whoami", 200, "nobody")
	if s.count() != 0 {
		t.Error("the session is back")
	}
}

func TestAttackCookieTossing(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{}, nil)
	ann, eve := s.browser(), s.browser()
	ann.expect("/signin?user=ann", 200, "")
	eve.expect("/signin?user=eve", 200, "")
	const name = web.DefaultCookie
	mine, tossed := name+"="+ann.id(), name+"="+eve.id()
	get := []string{"GET /whoami HTTP/1.1", "Host: example.com"}
	for what, c := range map[string]struct {
		lines  []string
		status int
		body   string
	}{
		"mine alone":              {[]string{"Cookie: " + mine}, 200, "ann"},
		"among others":            {[]string{"Cookie: a=b; " + mine + "; c=d"}, 200, "ann"},
		"another case":            {[]string{"Cookie: " + mine + "; __host-session=" + eve.id()}, 200, "ann"},
		"a name that ends so":     {[]string{"Cookie: x" + tossed + "; " + mine}, 200, "ann"},
		"tossed before":           {[]string{"Cookie: " + tossed + "; " + mine}, 400, ""},
		"tossed behind":           {[]string{"Cookie: " + mine + "; " + tossed}, 400, ""},
		"in two headers":          {[]string{"Cookie: " + mine, "Cookie: " + tossed}, 400, ""},
		"in mixed case":           {[]string{"Cookie: " + mine, "cOOKIE: " + tossed}, 400, ""},
		"the same twice":          {[]string{"Cookie: " + mine + "; " + mine}, 400, ""},
		"without a value":         {[]string{"Cookie: " + mine + "; " + name}, 400, ""},
		"empty":                   {[]string{"Cookie: " + mine + "; " + name + "="}, 400, ""},
		"blanks around":           {[]string{"Cookie: " + mine + ";\t " + name + " = x"}, 400, ""},
		"behind a quote":          {[]string{`Cookie: a="; ` + mine + `; b="; ` + tossed}, 400, ""},
		"in quotes":               {[]string{`Cookie: ` + name + `="` + ann.id() + `"`}, 200, "nobody"},
		"a control character":     {[]string{"Cookie: " + mine + "\x01; " + tossed}, 400, ""},
		"a name with an equals":   {[]string{"Cookie: =" + tossed + "; " + mine}, 200, "ann"},
		"with a comma":            {[]string{"Cookie: " + mine + ", " + tossed}, 200, "nobody"},
		"a value with an equals":  {[]string{"Cookie: " + mine + "=" + eve.id()}, 200, "nobody"},
		"another's by itself":     {[]string{"Cookie: " + tossed}, 200, "eve"},
		"neither is one at all":   {[]string{"Cookie: a=b"}, 200, "nobody"},
		"no name and no value":    {[]string{"Cookie: ;;; ;=; " + mine}, 200, "ann"},
		"trailing separator":      {[]string{"Cookie: " + mine + ";"}, 200, "ann"},
		"two lines with one each": {[]string{"Cookie: a=b", "Cookie: " + mine}, 200, "ann"},
	} {
		p := s.raw(append(get[:2:2], c.lines...)...)
		if strings.Contains(what, "control character") && p.status == 400 {
			continue // net/http may refuse it by itself
		}
		if p.status != c.status || c.body != "" && p.body != c.body || len(p.header["Set-Cookie"]) > 0 {
			t.Errorf("%s: %d %q, want %d %q", what, p.status, p.body, c.status, c.body)
		}
	}
}

func TestAttackHeaderSmuggling(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{Header: "Session-Id"}, nil)
	b := s.browser()
	sign := func(user string) string {
		return b.get("/signin?user="+user, "Session-Id", web.NewSession).header.Get("Session-Id")
	}
	ann, eve := sign("ann"), sign("eve")
	b.expect("/signin?user=bob", 200, "") // by cookie
	cookie := "Cookie: " + web.DefaultCookie + "=" + b.id()
	for what, c := range map[string]struct {
		lines  []string
		status int
		body   string
	}{
		"one":                {[]string{"Session-Id: " + ann}, 200, "ann"},
		"in another case":    {[]string{"sESSION-iD: " + ann}, 200, "ann"},
		"twice":              {[]string{"Session-Id: " + ann, "Session-Id: " + eve}, 400, ""},
		"the same twice":     {[]string{"Session-Id: " + ann, "Session-Id: " + ann}, 400, ""},
		"twice, mixed case":  {[]string{"Session-Id: " + ann, "session-ID: " + eve}, 400, ""},
		"second one empty":   {[]string{"Session-Id: " + ann, "Session-Id:"}, 400, ""},
		"comma":              {[]string{"Session-Id: " + ann + ", " + eve}, 400, ""},
		"trailing comma":     {[]string{"Session-Id: " + ann + ","}, 400, ""},
		"header and cookie":  {[]string{"Session-Id: " + ann, cookie}, 400, ""},
		"new and cookie":     {[]string{"Session-Id: new", cookie}, 400, ""},
		"empty and cookie":   {[]string{"Session-Id:", cookie}, 400, ""},
		"underscore":         {[]string{"Session_Id: " + eve, "Session-Id: " + ann}, 200, "ann"},
		"blank in the name":  {[]string{"Session-Id : " + ann}, 400, ""},
		"folded":             {[]string{"Session-Id: " + ann, " " + eve}, 200, "nobody"},
		"blank in the value": {[]string{"Session-Id: " + ann + " " + eve}, 200, "nobody"},
		"quoted":             {[]string{`Session-Id: "` + ann + `"`}, 200, "nobody"},
		"the ref alone":      {[]string{"Session-Id: " + ann[:28]}, 200, "nobody"},
		"another's secret":   {[]string{"Session-Id: " + ann[:28] + eve[28:]}, 200, "nobody"},
		"upper case":         {[]string{"Session-Id: " + strings.ToUpper(ann)}, 200, "nobody"},
		"in a trailer":       {[]string{"Trailer: Session-Id"}, 200, "nobody"},
	} {
		p := s.raw(append([]string{"GET /whoami HTTP/1.1", "Host: example.com"}, c.lines...)...)
		if p.status != c.status || c.body != "" && p.body != c.body {
			t.Errorf("%s: %d %q, want %d %q", what, p.status, p.body, c.status, c.body)
		}
	}
}

func TestAttackOversizedEverything(t *testing.T) {
	s := newSite(t, session.Policy{}, web.Options{Header: "Session-Id"}, nil)
	s.handle("POST /store", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			return err
		}
		return web.FromContext(ctx).Set(ctx, r.FormValue("key"), string(body))
	})
	b := s.browser()
	b.expect("/signin?user=ann", 200, "")
	huge, long := strings.Repeat("x", 2<<20), strings.Repeat("x", 64<<10)
	s.store.take()
	for what, c := range map[string]struct {
		request *http.Request
		want    int
	}{
		"a long cookie":    {s.browser().request(http.MethodGet, "/whoami", nil, "Cookie", web.DefaultCookie+"="+long), 200},
		"a long header":    {s.browser().request(http.MethodGet, "/whoami", nil, "Session-Id", long), 200},
		"a huge header":    {s.browser().request(http.MethodGet, "/whoami", nil, "Session-Id", huge), 431},
		"many cookies":     {s.browser().request(http.MethodGet, "/whoami", nil, "Cookie", strings.Repeat("a=b; ", 50_000)), 200},
		"many of the same": {s.browser().request(http.MethodGet, "/whoami", nil, "Cookie", strings.Repeat(web.DefaultCookie+"=b; ", 20_000)), 400},
	} {
		if p := b.do2(c.request); p.status != c.want || p.status == 200 && p.body != "nobody" {
			t.Errorf("%s: %d %.80q, want %d", what, p.status, p.body, c.want)
		}
	}
	if got := s.store.take(); got != "" {
		t.Errorf("what is no id was looked up: %s", got)
	}
	for what, c := range map[string]struct {
		key, value string
		want       int
	}{
		"a value that fits": {"k", long, 200},
		"a value too large": {"k", strings.Repeat("x", 300<<10), 413},
		"a key too long":    {strings.Repeat("k", 4000), "v", 413},
		"beyond the body":   {"k", huge, 413},
		"an empty key":      {"", "v", 400},
	} {
		p := b.do(b.request(http.MethodPost, "/store?key="+url.QueryEscape(c.key), strings.NewReader(c.value)))
		if p.status != c.want {
			t.Errorf("%s: %d, want %d", what, p.status, c.want)
		}
	}
	b.expect("/whoami", 200, "ann")
}

// do2 sends a request as another client's, without the cookies.
func (b *browser) do2(r *http.Request) page {
	b.s.t.Helper()
	return b.s.browser().do(r)
}

func TestAttackFloodOfNewSessionsFromOneAddress(t *testing.T) {
	s := newSite(t, session.Policy{NewPerAddress: 1}, web.Options{}, nil)
	known := s.browser()
	known.expect("/count", 200, "1")
	refused := 0
	for range 40 {
		p := s.browser().get("/count")
		if p.status == 200 {
			continue
		}
		refused++
		if p.status != 503 || p.header.Get("Retry-After") == "" || len(p.header["Set-Cookie"]) > 0 {
			t.Fatalf("%d %v", p.status, p.header)
		}
	}
	if n := s.count(); refused == 0 || n+refused != 41 {
		t.Errorf("%d sessions, %d refused", n, refused)
	}
	known.expect("/count", 200, "2") // who has a session goes on
}

func TestAttackSlowBodyHoldsNobodyUp(t *testing.T) {
	g := newGuarded(t, web.CSRFOptions{FormTimeout: time.Hour})
	b := g.browser()
	token := b.token()
	slow := b.request(http.MethodPost, "/form", nil, "Content-Type", "application/x-www-form-urlencoded")
	body, write := io.Pipe()
	slow.Body = body
	answer := make(chan page, 1)
	go func() {
		p, err := b.try(slow)
		if err != nil {
			t.Error(err)
		}
		answer <- p
	}()
	fmt.Fprint(write, "csrf_token=") // the rest does not come yet
	b.expect("/count", 200, "1")
	if p := b.post("/form", url.Values{"csrf_token": {token}}); p.status != 200 {
		t.Errorf("a form beside the slow one: %d", p.status)
	}
	fmt.Fprint(write, token)
	write.Close()
	if p := <-answer; p.status != 200 {
		t.Errorf("the slow form, once it is there: %d", p.status)
	}
}

func TestAttackForgeryWithEachHeaderMissing(t *testing.T) {
	const same, cross, sibling = "same-origin", "cross-site", "same-site"
	for _, require := range []bool{false, true} {
		g := newGuarded(t, web.CSRFOptions{RequireToken: require})
		b := g.browser()
		b.expect("/signin?user=ann", 200, "")
		token := b.token()
		other := g.browser().token()
		own := g.server.URL
		for what, c := range map[string]struct {
			site, origin, token string
			pass, strict        bool
		}{
			"everything":                     {same, own, token, true, true},
			"no Origin":                      {same, "", token, true, true},
			"no Sec-Fetch-Site":              {"", own, token, true, true},
			"neither":                        {"", "", token, true, true},
			"no token":                       {same, own, "", true, false},
			"no token, no Origin":            {same, "", "", true, false},
			"no token, no Sec-Fetch-Site":    {"", own, "", true, false},
			"nothing":                        {"", "", "", false, false},
			"another session's token":        {"", "", other, false, false},
			"another session's, same origin": {same, own, other, true, false},
			"from another site":              {cross, "https://evil.example", token, false, false},
			"from another site, no Origin":   {cross, "", token, false, false},
			"from another site, old browser": {"", "https://evil.example", token, false, false},
			"from a sibling":                 {sibling, "", token, false, false},
			"sandboxed":                      {cross, "null", token, false, false},
			"sandboxed, old browser":         {"", "null", token, false, false},
			"typed by the user":              {"none", "", token, true, true},
			"nonsense":                       {"same_origin", own, token, false, false},
		} {
			headers := []string{}
			for name, value := range map[string]string{"Sec-Fetch-Site": c.site, "Origin": c.origin, "X-Csrf-Token": c.token} {
				if value != "" {
					headers = append(headers, name, value)
				}
			}
			want := 403
			if c.pass && !require || c.strict && require {
				want = 200
			}
			if p := b.post("/form", nil, headers...); p.status != want {
				t.Errorf("token required %v, %s: %d, want %d", require, what, p.status, want)
			}
		}
		for what, headers := range map[string][]string{
			"two origins":      {"Origin", own, "Origin", "https://evil.example"},
			"two fetch sites":  {"Sec-Fetch-Site", same, "Sec-Fetch-Site", cross},
			"two tokens":       {"X-Csrf-Token", token, "X-Csrf-Token", other},
			"token and a list": {"X-Csrf-Token", token + ", " + other},
		} {
			if p := b.post("/form", nil, headers...); p.status != 403 {
				t.Errorf("%s: %d", what, p.status)
			}
		}
		// Nobody is signed in yet: signing somebody in as the attacker.
		if p := g.browser().post("/signin?user=eve", nil); p.status != 403 {
			t.Errorf("sign-in without origin, token and session: %d", p.status)
		}
		if p := g.browser().post("/signin?user=eve", nil, "Session-Id", web.NewSession); p.status != 200 {
			t.Errorf("sign-in of a client that uses the header: %d", p.status)
		}
		// A page of another site may make a browser send the cookie, and no header.
		if p := b.post("/form", nil, "Session-Id", ""); p.status != 400 {
			t.Errorf("cookie and header: %d", p.status)
		}
	}
}

// Whatever is wrong with an id, the answer is the same to the byte and comes
// from the same look-ups.
func TestAttackGuessingTellsNothing(t *testing.T) {
	principal := func(r *http.Request) (string, error) { return r.Header.Get("Test-User"), nil }
	s := newSite(t, session.Policy{}, web.Options{Header: "Session-Id", HeaderOnly: true, Principal: principal}, nil)
	b := s.browser()
	s.mux.Handle("/own", web.Require{}.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
	sign := func() string {
		return b.get("/signin?user=ann", "Session-Id", web.NewSession, "Test-User", "ann").header.Get("Session-Id")
	}
	ann, ended, unknown := sign(), sign(), madeUp(t)
	b.get("/signout", "Session-Id", ended, "Test-User", "ann")
	var first page
	for _, c := range []struct{ what, id string }{
		{"unknown", unknown}, {"another user's", ann}, {"a wrong secret", ann[:28] + unknown[28:]}, {"ended", ended},
	} {
		s.store.take()
		p := b.get("/own", "Session-Id", c.id, "Test-User", "eve")
		p.header.Del("Date")
		if got := s.store.take(); got != "get 1" {
			t.Errorf("%s: the store was asked to %s", c.what, got)
		}
		if first.header == nil {
			first = p
			continue
		}
		if p.status != first.status || p.body != first.body || fmt.Sprint(p.header) != fmt.Sprint(first.header) {
			t.Errorf("%s:\n%d %q %v, unknown:\n%d %q %v", c.what, p.status, p.body, p.header, first.status, first.body, first.header)
		}
	}
	if first.status != 401 {
		t.Errorf("the answer is %d", first.status)
	}
}
