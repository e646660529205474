package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdkauth "github.com/modelcontextprotocol/go-sdk/auth"

	"github.com/coatcheck-mcp/coatcheck/auth"
)

const (
	aliceToken = "q0Hn3dXkz7Yc5mVb1LsTfA=="
	bobToken   = "Zb8Rr2eWp4Ux6tGj9KaQvM"
)

func TestParseTokensReadsTokensAndSkipsComments(t *testing.T) {
	tokens, err := auth.ParseTokens(strings.NewReader(
		"# people\n\n" + aliceToken + "\talice\n  " + bobToken + "   bob@example.com  \nshort alice\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if tokens.Len() != 3 || tokens.Weak() != 1 {
		t.Errorf("Len, Weak = %d, %d; want 3, 1", tokens.Len(), tokens.Weak())
	}
	for token, want := range map[string]string{aliceToken: "alice", bobToken: "bob@example.com", "short": "alice"} {
		info, err := tokens.Verify(t.Context(), token, nil)
		if err != nil {
			t.Fatalf("Verify: %v", err)
		}
		if info.UserID != want || !info.Expiration.After(time.Now()) {
			t.Errorf("Verify = %q until %v, want %q in the future", info.UserID, info.Expiration, want)
		}
	}
}

func TestParseTokensRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"no token":          {"# nobody\n", "no token"},
		"one word":          {aliceToken + "\n", "line 1: has 1 words"},
		"three words":       {"\n" + aliceToken + " alice cooper\n", "line 2: has 3 words"},
		"duplicate":         {aliceToken + " alice\n" + aliceToken + " bob\n", "line 2: the token was given before"},
		"odd characters":    {"töken alice\n", "line 1: the token has characters"},
		"only padding":      {"== alice\n", "line 1: the token has characters"},
		"control character": {"to\x01ken alice\n", "line 1: the token has characters"},
		"user too long":     {aliceToken + " " + strings.Repeat("u", 513) + "\n", "line 1: the user"},
		"user not UTF-8":    {aliceToken + " \xff\n", "line 1: the user"},
		"endless line":      {strings.Repeat("a", 10_000) + " alice\n", "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.ParseTokens(strings.NewReader(c.file))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if strings.Contains(err.Error(), aliceToken) {
				t.Errorf("the error repeats a token: %v", err)
			}
		})
	}
}

func TestLoadTokensSaysWhenOthersCanRead(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o644: true} {
		path := filepath.Join(t.TempDir(), "tokens")
		if err := os.WriteFile(path, []byte(aliceToken+" alice\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, exposed, err := auth.LoadTokens(path)
		if err != nil || exposed != want {
			t.Errorf("mode %v: exposed %v, %v; want %v", mode, exposed, err, want)
		}
	}
}

func TestLoadTokensRefusesWhatIsNoFile(t *testing.T) {
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "absent")} {
		if _, _, err := auth.LoadTokens(path); err == nil {
			t.Errorf("LoadTokens(%s) succeeded", path)
		}
	}
}

func TestMiddleware(t *testing.T) {
	tokens, err := auth.ParseTokens(strings.NewReader(aliceToken + " alice\n"))
	if err != nil {
		t.Fatal(err)
	}
	h := tokens.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, sdkauth.TokenInfoFromContext(r.Context()).UserID)
	}))
	const missing, invalid = `Bearer realm="coatcheck"`, `Bearer realm="coatcheck", error="invalid_token"`
	for name, c := range map[string]struct {
		headers   []string
		status    int
		challenge string
		body      string
	}{
		"right token":       {[]string{"Bearer " + aliceToken}, 200, "", "alice"},
		"scheme in lower":   {[]string{"bearer " + aliceToken}, 200, "", "alice"},
		"no credentials":    {nil, 401, missing, ""},
		"unknown token":     {[]string{"Bearer nobody"}, 401, invalid, ""},
		"prefix of a token": {[]string{"Bearer " + aliceToken[:20]}, 401, invalid, ""},
		"huge token":        {[]string{"Bearer " + strings.Repeat("a", 1<<20)}, 401, invalid, ""},
		"other scheme":      {[]string{"Basic " + aliceToken}, 401, invalid, ""},
		"two headers":       {[]string{"Bearer " + aliceToken, "Bearer nobody"}, 401, invalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
			for _, v := range c.headers {
				r.Header.Add("Authorization", v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status || w.Header().Get("WWW-Authenticate") != c.challenge {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Header().Get("WWW-Authenticate"), c.status, c.challenge)
			}
			if c.body != "" && w.Body.String() != c.body {
				t.Errorf("body %q, want %q", w.Body.String(), c.body)
			}
			if strings.Contains(w.Body.String(), aliceToken) {
				t.Error("the answer repeats the token")
			}
		})
	}
}

func TestZeroTokensRefuseAll(t *testing.T) {
	var tokens auth.Tokens
	if _, err := tokens.Verify(t.Context(), "", nil); err == nil {
		t.Error("the zero Tokens accepted a token")
	}
}

func Example() {
	tokens, err := auth.ParseTokens(strings.NewReader("q0Hn3dXkz7Yc5mVb1LsTfA== alice\n"))
	if err != nil {
		panic(err)
	}
	hello := tokens.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello", sdkauth.TokenInfoFromContext(r.Context()).UserID)
	}))

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer q0Hn3dXkz7Yc5mVb1LsTfA==")
	w := httptest.NewRecorder()
	hello.ServeHTTP(w, r)
	fmt.Print(w.Code, " ", w.Body)
	// Output: 200 hello alice
}
