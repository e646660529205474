package web_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A clock stands still until it is advanced.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A watched store counts what reaches it, and may be made to fail.
type watched struct {
	state.Store
	mu     sync.Mutex // guards the rest
	counts map[string]int
	down   bool
	before func(op string) // runs before each, without mu
}

func (w *watched) note(op string) error {
	w.mu.Lock()
	before := w.before
	w.counts[op]++
	w.mu.Unlock()
	if before != nil {
		before(op)
	}
	if w.isDown() {
		return fmt.Errorf("the store is down: %w", state.ErrUnavailable)
	}
	return nil
}

// take returns what was counted since the last take.
func (w *watched) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, op := range []string{"get", "create", "update", "touch", "delete", "list"} {
		if n := w.counts[op]; n > 0 {
			all = append(all, fmt.Sprintf("%s %d", op, n))
		}
	}
	clear(w.counts)
	return strings.Join(all, ", ")
}

func (w *watched) set(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

func (w *watched) isDown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

func (w *watched) onEach(f func(op string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = f
}

func (w *watched) Get(ctx context.Context, key state.Key) (state.Record, error) {
	if err := w.note("get"); err != nil {
		return state.Record{}, err
	}
	return w.Store.Get(ctx, key)
}

func (w *watched) Apply(ctx context.Context, ops ...state.Op) []state.Result {
	results := make([]state.Result, len(ops))
	for i, op := range ops {
		if err := w.note(opName(op)); err != nil {
			results[i].Err = err
			continue
		}
		results[i] = w.Store.Apply(ctx, op)[0]
	}
	return results
}

func opName(op state.Op) string {
	switch op.(type) {
	case state.CreateOp:
		return "create"
	case state.UpdateOp:
		return "update"
	case state.TouchOp:
		return "touch"
	case state.DeleteOp:
		return "delete"
	}
	return fmt.Sprintf("%T", op)
}

// A site is a web server with sessions, whose time is in the test's hand.
type site struct {
	t        testing.TB
	clock    *clock
	store    *watched
	manager  *session.Manager
	sessions *web.Sessions
	mux      *http.ServeMux
	server   *httptest.Server
	secrets  testkit.Secrets
}

// newSite starts one. wrap, if not nil, stands between sessions and handlers.
func newSite(t testing.TB, policy session.Policy, opts web.Options, wrap func(*site, http.Handler) http.Handler) *site {
	t.Helper()
	c := &clock{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	inner := memory.New(memory.Options{Clock: c.Now})
	t.Cleanup(func() { _ = inner.Close() })
	s := &site{t: t, clock: c, store: &watched{Store: inner, counts: map[string]int{}}, mux: http.NewServeMux()}
	var err error
	s.manager, err = session.NewManager(s.store, session.Options{Policy: policy, Clock: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(s.secrets.Log(t), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if s.sessions, err = web.New(s.manager, opts); err != nil {
		t.Fatal(err)
	}
	var handler http.Handler = s.mux
	if wrap != nil {
		handler = wrap(s, handler)
	}
	s.server = httptest.NewUnstartedServer(s.secrets.Handler(s.sessions.Middleware(handler)))
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0) // browsers that leave in a handshake
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	s.routes()
	return s
}

// routes are what most tests ask for.
func (s *site) routes() {
	s.handle("/plain", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		_, err := io.WriteString(w, "plain")
		return err
	})
	s.handle("/whoami", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		user, err := web.FromContext(ctx).User(ctx)
		if err != nil {
			return err
		}
		if user == "" {
			user = "nobody"
		}
		_, err = io.WriteString(w, user)
		return err
	})
	s.handle("/count", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		var n int
		err := web.FromContext(ctx).Update(ctx, func(s *session.Session) error {
			if _, err := s.Get("n", &n); err != nil {
				return err
			}
			n++
			return s.Set("n", n)
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(w, n)
		return err
	})
	s.handle("/signin", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		how := session.Authentication{}
		if method := r.FormValue("method"); method != "" {
			how.Methods = []string{method}
		}
		return web.FromContext(ctx).SignIn(ctx, r.FormValue("user"), how)
	})
	s.handle("/signout", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		return web.FromContext(ctx).SignOut(ctx)
	})
	s.handle("/signout-others", func(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
		n, err := web.FromContext(ctx).SignOutOthers(ctx)
		if err == nil {
			fmt.Fprint(w, n)
		}
		return err
	})
}

func (s *site) handle(pattern string, f func(context.Context, http.ResponseWriter, *http.Request) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := f(r.Context(), w, r); err != nil {
			web.Error(w, err)
		}
	})
}

// A browser keeps cookies, and asks the site for its pages.
type browser struct {
	s      *site
	client *http.Client
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	client := *s.server.Client()
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{s: s, client: &client}
}

// A page is an answer, read to its end.
type page struct {
	status int
	header http.Header
	body   string
}

// get asks for a page, with headers given as pairs.
func (b *browser) get(path string, headers ...string) page {
	b.s.t.Helper()
	return b.do(b.request(http.MethodGet, path, nil, headers...))
}

func (b *browser) request(method, path string, body io.Reader, headers ...string) *http.Request {
	b.s.t.Helper()
	r, err := http.NewRequestWithContext(b.s.t.Context(), method, b.s.server.URL+path, body)
	if err != nil {
		b.s.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func (b *browser) do(r *http.Request) page {
	b.s.t.Helper()
	p, err := b.try(r)
	if err != nil {
		b.s.t.Fatal(err)
	}
	return p
}

func (b *browser) try(r *http.Request) (page, error) {
	res, err := b.client.Do(r)
	if err != nil {
		return page{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return page{status: res.StatusCode, header: res.Header, body: string(body)}, err
}

// expect asks for a page and compares it.
func (b *browser) expect(path string, status int, body string) page {
	b.s.t.Helper()
	p := b.get(path)
	if p.status != status || p.body != body && body != "" {
		b.s.t.Fatalf("GET %s: %d %q, want %d %q", path, p.status, p.body, status, body)
	}
	return p
}

// id is the session cookie that the browser has, or "".
func (b *browser) id() string {
	r := b.request(http.MethodGet, "/", nil)
	for _, c := range b.client.Jar.Cookies(r.URL) {
		if c.Name == web.DefaultCookie {
			return c.Value
		}
	}
	return ""
}

// hold makes the browser have the cookie.
func (b *browser) hold(id string) {
	r := b.request(http.MethodGet, "/", nil)
	b.client.Jar.SetCookies(r.URL, []*http.Cookie{{Name: web.DefaultCookie, Value: id, Path: "/", Secure: true}})
}

// count returns how many sessions there are.
func (s *site) count() int {
	s.t.Helper()
	n, err := s.manager.Count(s.t.Context(), session.Query{})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}
