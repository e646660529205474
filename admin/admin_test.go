package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/admin"
)

func get(t *testing.T, url string, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body))
}

func TestReadinessFollowsTheStoreAndTheDrain(t *testing.T) {
	var broken error
	h := admin.New(admin.Options{Ready: func(context.Context) error { return broken }})
	srv := httptest.NewServer(h)
	defer srv.Close()
	expect := func(path string, status int, body string) {
		t.Helper()
		if code, got := get(t, srv.URL+path, nil); code != status || got != body {
			t.Errorf("%s = %d %q, want %d %q", path, code, got, status, body)
		}
	}
	expect("/healthz", 200, "ok")
	expect("/readyz", 200, "ready")
	broken = errors.New("store unavailable")
	expect("/healthz", 200, "ok")
	expect("/readyz", 503, "store unavailable")
	broken = nil
	expect("/readyz", 200, "ready")
	h.Drain()
	expect("/readyz", 503, "draining")
	expect("/healthz", 200, "ok")
}

func TestReadinessDoesNotHangOnAStoreThatDoes(t *testing.T) {
	h := admin.New(admin.Options{
		ReadyTimeout: time.Millisecond,
		Ready:        func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
}

func TestTokenGuardsMetricsButNotProbes(t *testing.T) {
	srv := httptest.NewServer(admin.New(admin.Options{
		Ready:   func(context.Context) error { return nil },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metrics") }),
		Token:   "open sesame",
	}))
	defer srv.Close()
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	for _, c := range []struct {
		path   string
		change func(*http.Request)
		want   int
	}{
		{"/healthz", nil, 200}, {"/readyz", nil, 200}, {"/metrics", nil, 401},
		{"/metrics", bearer("wrong"), 401}, {"/metrics", bearer(""), 401},
		{"/metrics", bearer("open sesame"), 200}, {"/elsewhere", bearer("open sesame"), 404},
	} {
		if code, _ := get(t, srv.URL+c.path, c.change); code != c.want {
			t.Errorf("%s = %d, want %d", c.path, code, c.want)
		}
	}
}

func TestWebPagesAreRefusedOnLoopback(t *testing.T) {
	srv := httptest.NewServer(admin.New(admin.Options{Ready: func(context.Context) error { return nil }}))
	defer srv.Close()
	for host, want := range map[string]int{"localhost:1234": 200, "127.0.0.1": 200, "[::1]:80": 200, "evil.example": 403, "evil.example:80": 403} {
		if code, _ := get(t, srv.URL+"/healthz", func(r *http.Request) { r.Host = host }); code != want {
			t.Errorf("Host %s = %d, want %d", host, code, want)
		}
	}
	if code, _ := get(t, srv.URL+"/healthz", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }); code != 403 {
		t.Errorf("a foreign Origin = %d, want 403", code)
	}
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	h := admin.New(admin.Options{Ready: func(context.Context) error { return nil }})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/healthz", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /healthz = %d, want 405", w.Code)
	}
}

func Example() {
	h := admin.New(admin.Options{Ready: func(context.Context) error { return nil }})
	h.Drain()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	fmt.Print(w.Code, " ", w.Body)
	// Output: 503 draining
}
