package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/coatcheck-mcp/coatcheck/examples/internal/accounts"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/postgresserver"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
)

// noted are the session ids that clients hold. No log may have one.
var noted testkit.Secrets

func TestMain(m *testing.M) {
	code := noted.Run(m)
	if code == 0 {
		// Redis's client looks at its cluster a moment after a failure.
		if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1")); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
			code = 1
		}
	}
	os.Exit(code)
}

// environments are what the server is run with.
var environments = map[string]func(t *testing.T) map[string]string{
	"nothing set": func(*testing.T) map[string]string { return nil },
	"memory":      func(*testing.T) map[string]string { return map[string]string{"SESSION_STORE": "memory"} },
	"redis, encrypted": func(t *testing.T) map[string]string {
		return map[string]string{
			"SESSION_STORE": "redis", "REDIS_URL": "redis://" + redisserver.Start(t).Addr(), "SESSION_ENCRYPTION_KEY": newKey(t),
		}
	},
	"postgres, encrypted": func(t *testing.T) map[string]string {
		return map[string]string{
			"SESSION_STORE": "postgres", "DATABASE_URL": postgresserver.Start(t, postgresserver.Options{}).URL("postgres"),
			"SESSION_ENCRYPTION_KEY": newKey(t),
		}
	},
}

func newKey(t *testing.T) string {
	t.Helper()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(key)
}

// A world is a running server, and what its clients need.
type world struct {
	t    *testing.T
	url  string
	tls  *tls.Config
	stop func()
}

// start runs the server over TLS, since Go's cookie jar keeps Secure cookies for
// that alone.
func start(t *testing.T, env map[string]string) *world {
	t.Helper()
	lender := httptest.NewTLSServer(nil) // of a certificate
	defer lender.Close()
	people, err := accounts.New(map[string]string{"ann": "anns", "bob": "bobs"}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		secured := tls.NewListener(listener, &tls.Config{Certificates: lender.TLS.Certificates})
		done <- run(ctx, secured, func(name string) string { return env[name] }, people)
	}()
	w := &world{t: t, url: "https://" + listener.Addr().String(), tls: lender.Client().Transport.(*http.Transport).TLSClientConfig}
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) transport() http.RoundTripper {
	transport := &http.Transport{TLSClientConfig: w.tls}
	w.t.Cleanup(transport.CloseIdleConnections)
	return noted.Transport(transport)
}

// A keeper keeps cookies, and sends the CSRF token.
type keeper struct {
	http.RoundTripper
	mu    sync.Mutex // guards token
	token string
}

func (k *keeper) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("X-Csrf-Token", k.token)
	}
	return k.RoundTripper.RoundTrip(r)
}

func (k *keeper) set(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.token = token
}

// A carrier carries the id in the header, and takes it from there.
type carrier struct {
	http.RoundTripper
	mu sync.Mutex // guards id
	id string
}

func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	r = r.Clone(r.Context())
	r.Header.Set("Session-Id", c.id)
	c.mu.Unlock()
	res, err := c.RoundTripper.RoundTrip(r)
	if err == nil && res.Header.Get("Session-Id") != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.id = res.Header.Get("Session-Id")
	}
	return res, err
}

// cookieClient signs a user in, as a program with a cookie jar does.
func (w *world) cookieClient(user string) (*http.Client, *keeper) {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	k := &keeper{RoundTripper: w.transport()}
	client := &http.Client{Jar: jar, Transport: k}
	k.set(w.csrf(client))
	w.post(client, "/signin", url.Values{"user": {user}, "password": {user + "s"}}, http.StatusOK)
	k.set(w.csrf(client))
	return client, k
}

// headerClient signs a user in, as a program without one does.
func (w *world) headerClient(user string) *http.Client {
	w.t.Helper()
	client := &http.Client{Transport: &carrier{RoundTripper: w.transport(), id: "new"}}
	w.post(client, "/signin", url.Values{"user": {user}, "password": {user + "s"}}, http.StatusOK)
	return client
}

func (w *world) csrf(client *http.Client) string {
	w.t.Helper()
	res, err := client.Get(w.url + "/csrf")
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var body struct {
		Token string `json:"csrf_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil || body.Token == "" {
		w.t.Fatalf("%s: no token: %v", res.Status, err)
	}
	return body.Token
}

func (w *world) post(client *http.Client, path string, form url.Values, status int) {
	w.t.Helper()
	res, err := client.PostForm(w.url+path, form)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != status {
		w.t.Fatalf("POST %s: %s %s, want %d", path, res.Status, body, status)
	}
}

// connect opens an MCP session with the SDK's own client.
func (w *world) connect(client *http.Client) (*mcp.ClientSession, error) {
	transport := &mcp.StreamableClientTransport{Endpoint: w.url + "/mcp", HTTPClient: client, DisableStandaloneSSE: true, MaxRetries: -1}
	return mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(w.t.Context(), transport, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
}

func (w *world) mustConnect(client *http.Client) *mcp.ClientSession {
	w.t.Helper()
	s, err := w.connect(client)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

func remembered(t *testing.T, s *mcp.ClientSession, text string) list {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "remember", Arguments: line{Text: text}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(res.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	var l list
	if err := json.Unmarshal(raw, &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCookieAndHeaderClientsOnEveryStore(t *testing.T) {
	for name, env := range environments {
		t.Run(name, func(t *testing.T) {
			w := start(t, env(t))
			cookie, k := w.cookieClient("ann")
			header := w.headerClient("bob")
			for who, client := range map[string]*http.Client{"ann": cookie, "bob": header} {
				s := w.mustConnect(client)
				remembered(t, s, "milk")
				if got := remembered(t, s, "bread"); got.User != who || !slices.Equal(got.Lines, []string{"milk", "bread"}) {
					t.Errorf("%s has %+v", who, got)
				}
			}

			// A cookie without the token is not enough, and signing out is the end.
			token := k.token
			k.set("")
			if _, err := w.connect(cookie); err == nil || !strings.Contains(err.Error(), "403") && !strings.Contains(err.Error(), "Forbidden") {
				t.Errorf("without the token: %v", err)
			}
			k.set(token)
			w.post(cookie, "/signout", nil, http.StatusNoContent)
			w.post(header, "/signout", nil, http.StatusNoContent)
			k.set(w.csrf(cookie))
			for _, client := range []*http.Client{cookie, header} {
				if _, err := w.connect(client); err == nil {
					t.Error("connected after signing out")
				}
			}
		})
	}
}

func TestSessionOfAnMCPClientIsItsUsersAlone(t *testing.T) {
	w := start(t, nil)
	ann, bob := w.headerClient("ann"), w.headerClient("bob")
	s := w.mustConnect(ann)
	remembered(t, s, "secret")
	// The SDK's client knows the id; another's request with it is 404.
	body := `{"jsonrpc":"2.0","id":9,"method":"ping"}`
	for client, want := range map[*http.Client]int{ann: http.StatusOK, bob: http.StatusNotFound} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/mcp", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		r.Header.Set("Mcp-Protocol-Version", "2025-11-25")
		r.Header.Set("Mcp-Session-Id", s.ID())
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s, want %d", res.Status, want)
		}
	}
}

func TestSignInNeedsTheRightPassword(t *testing.T) {
	w := start(t, nil)
	client := &http.Client{Transport: &carrier{RoundTripper: w.transport(), id: "new"}}
	for _, form := range []url.Values{{"user": {"ann"}, "password": {"bobs"}}, {"user": {"eve"}, "password": {"eves"}}, nil} {
		w.post(client, "/signin", form, http.StatusForbidden)
	}
}

func TestSigningOutEverywhereElse(t *testing.T) {
	w := start(t, nil)
	here, there := w.headerClient("ann"), w.headerClient("ann")
	w.post(here, "/signout-others", nil, http.StatusOK)
	w.post(here, "/signout-others", nil, http.StatusOK)
	w.post(there, "/signout-others", nil, http.StatusUnauthorized)
}

func TestEnvironmentThatCannotWorkIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"unknown store": {map[string]string{"SESSION_STORE": "reddis"}, "SESSION_STORE"},
		"no URL":        {map[string]string{"SESSION_STORE": "redis"}, "REDIS_URL"},
		"no database":   {map[string]string{"SESSION_STORE": "postgres"}, "DATABASE_URL"},
		"bad key":       {map[string]string{"SESSION_ENCRYPTION_KEY": "c2hvcnQ="}, "SESSION_ENCRYPTION_KEY"},
	} {
		_, err := createSessionEnabledServer(t.Context(), func(name string) string { return c.env[name] }, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "c2hvcnQ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
