package streamable

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// status returns the status of the refusal that err is, or 200 for none.
func status(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return http.StatusOK
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("error %v is no *Refusal", err)
	}
	w := httptest.NewRecorder()
	refusal.ServeHTTP(w, nil)
	return w.Code
}

func request(method, host string, header map[string]string, local string) *http.Request {
	r := httptest.NewRequest(method, "/mcp", strings.NewReader("{}"))
	r.Host = host
	for k, v := range header {
		r.Header.Add(k, v)
	}
	if local != "" {
		addr := &net.TCPAddr{IP: net.ParseIP(local), Port: 8080}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
	}
	return r
}

func TestGuardChecksHost(t *testing.T) {
	tests := []struct {
		name, host, local string
		guard             Guard
		want              int
	}{
		{"loopback name on loopback", "127.0.0.1:8080", "127.0.0.1", Guard{}, 200},
		{"localhost on loopback", "localhost:8080", "127.0.0.1", Guard{}, 200},
		{"six on loopback", "[::1]:8080", "::1", Guard{}, 200},
		{"rebound name on loopback", "evil.example", "127.0.0.1", Guard{}, 403},
		{"rebound name and port on loopback", "evil.example:80", "127.0.0.1", Guard{}, 403},
		{"name that looks like localhost", "localhost.evil.example", "127.0.0.1", Guard{}, 403},
		{"any name elsewhere", "mcp.example", "192.0.2.1", Guard{}, 200},
		{"unknown local address", "mcp.example", "", Guard{}, 200},
		{"allowed name on loopback", "mcp.example:443", "127.0.0.1", Guard{AllowedHosts: []string{"MCP.example"}}, 200},
		{"allowed name, other port", "mcp.example:444", "192.0.2.1", Guard{AllowedHosts: []string{"mcp.example:443"}}, 403},
		{"not in the list", "other.example", "192.0.2.1", Guard{AllowedHosts: []string{"mcp.example"}}, 403},
		{"loopback beside the list", "localhost", "127.0.0.1", Guard{AllowedHosts: []string{"mcp.example"}}, 200},
		{"loopback name from elsewhere", "localhost", "192.0.2.1", Guard{AllowedHosts: []string{"mcp.example"}}, 403},
		{"disabled", "evil.example", "127.0.0.1", Guard{DisableHost: true}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := status(t, tt.guard.Check(request("POST", tt.host, nil, tt.local))); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestGuardChecksOrigin(t *testing.T) {
	tests := []struct {
		name, origin, host string
		guard              Guard
		want               int
	}{
		{"none", "", "mcp.example", Guard{}, 200},
		{"same", "http://localhost:8080", "localhost:8080", Guard{}, 200},
		{"same behind TLS", "https://mcp.example", "mcp.example", Guard{}, 200},
		{"same with default port", "https://mcp.example:443", "mcp.example", Guard{}, 200},
		{"other port", "http://localhost:6274", "localhost:8080", Guard{}, 403},
		{"other host", "http://evil.example", "mcp.example", Guard{}, 403},
		{"null", "null", "mcp.example", Guard{}, 403},
		{"other scheme", "file://mcp.example", "mcp.example", Guard{}, 403},
		{"not an origin", "::", "mcp.example", Guard{}, 403},
		{"allowed", "http://localhost:6274", "mcp.example", Guard{AllowedOrigins: []string{"http://localhost:6274"}}, 200},
		{"allowed, other scheme", "https://localhost:6274", "mcp.example", Guard{AllowedOrigins: []string{"http://localhost:6274"}}, 403},
		{"all allowed", "http://evil.example", "mcp.example", Guard{AllowedOrigins: []string{"*"}}, 200},
		{"disabled", "http://evil.example", "mcp.example", Guard{DisableOrigin: true}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := map[string]string{}
			if tt.origin != "" {
				header["Origin"] = tt.origin
			}
			if got := status(t, tt.guard.Check(request("POST", tt.host, header, ""))); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestHeadersMayComeOnce(t *testing.T) {
	r := request("POST", "x", nil, "")
	r.Header[HeaderSession] = []string{"a", "b"}
	r.Header[HeaderVersion] = []string{V20250618, V20251125}
	if _, err := SessionID(r); status(t, err) != 400 {
		t.Error("two session ids are not refused")
	}
	if _, err := Version(r); status(t, err) != 400 {
		t.Error("two versions are not refused")
	}
	r.Header[HeaderSession] = []string{"a, b"}
	if _, err := SessionID(r); status(t, err) != 400 {
		t.Error("a list of session ids is not refused")
	}
}

func TestMediaTypes(t *testing.T) {
	tests := []struct {
		name, contentType string
		accept            []string
		post, get         int
	}{
		{"usual", "application/json", []string{"application/json, text/event-stream"}, 200, 200},
		{"parameters", "application/json; charset=utf-8", []string{"application/json;q=1", "Text/Event-Stream; x=y"}, 200, 200},
		{"wildcards", "application/json", []string{"*/*"}, 200, 200},
		{"partial wildcards", "application/json", []string{"text/*, application/*"}, 200, 200},
		{"no stream", "application/json", []string{"application/json"}, 400, 400},
		{"no json", "application/json", []string{"text/event-stream"}, 400, 200},
		{"nothing accepted", "application/json", nil, 400, 400},
		{"text", "text/plain", []string{"*/*"}, 415, 200},
		{"no content type", "", []string{"*/*"}, 415, 200},
		{"broken content type", "application/json; charset", []string{"*/*"}, 415, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request("POST", "x", map[string]string{"Content-Type": tt.contentType}, "")
			r.Header["Accept"] = tt.accept
			if got := status(t, CheckPOST(r)); got != tt.post {
				t.Errorf("POST: got %d, want %d", got, tt.post)
			}
			if got := status(t, CheckGET(r)); got != tt.get {
				t.Errorf("GET: got %d, want %d", got, tt.get)
			}
		})
	}
}

// unknownLength hides its length from net/http, as chunked encoding does.
type unknownLength struct{ *strings.Reader }

func TestReadBodyIsBounded(t *testing.T) {
	tests := []struct {
		name  string
		size  int
		limit int64
		want  int
	}{
		{"empty", 0, 10, 400},
		{"at the limit", 10, 10, 200},
		{"over the limit", 11, 10, 413},
		{"default limit", DefaultMaxBody + 1, 0, 413},
		{"no limit", DefaultMaxBody + 1, -1, 200},
		{"large", 100 << 10, 0, 200},
	}
	for _, tt := range tests {
		for _, chunked := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				text := strings.Repeat("x", tt.size)
				r := httptest.NewRequest("POST", "/", strings.NewReader(text))
				if chunked {
					r = httptest.NewRequest("POST", "/", unknownLength{strings.NewReader(text)})
				}
				data, err := ReadBody(httptest.NewRecorder(), r, tt.limit)
				if got := status(t, err); got != tt.want {
					t.Fatalf("chunked %v: got %d, want %d", chunked, got, tt.want)
				}
				if err == nil && string(data) != text {
					t.Error("body is not what was sent")
				}
			})
		}
	}
}

func TestReadBodyRefusesABodyThatEndsEarly(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader("half"))
	r.ContentLength = 8
	if _, err := ReadBody(httptest.NewRecorder(), r, 0); status(t, err) != 400 {
		t.Error("a short body is not refused with 400")
	}
}

func TestRefusalSetsItsHeaders(t *testing.T) {
	w := httptest.NewRecorder()
	Unavailable("later", 1500*time.Millisecond).ServeHTTP(w, nil)
	if w.Code != 503 || w.Header().Get("Retry-After") != "2" {
		t.Errorf("got %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	w = httptest.NewRecorder()
	MethodNotAllowed("GET, POST").ServeHTTP(w, nil)
	if w.Code != 405 || w.Header().Get("Allow") != "GET, POST" {
		t.Errorf("got %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}
