package web_test

import (
	"fmt"
	"html/template"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/web"
)

func newManager() *session.Manager {
	m, err := session.NewManager(memory.New(memory.Options{}), session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return m
}

func Example() {
	sessions, err := web.New(newManager(), web.Options{})
	if err != nil {
		log.Fatal(err)
	}
	visits := func(w http.ResponseWriter, r *http.Request) {
		n := 0
		err := web.FromContext(r.Context()).Update(r.Context(), func(s *session.Session) error {
			if _, err := s.Get("visits", &n); err != nil {
				return err
			}
			n++
			return s.Set("visits", n)
		})
		if err != nil {
			web.Error(w, err) // 503 if the store cannot be reached
			return
		}
		fmt.Fprintf(w, "visit %d", n)
	}
	handler := sessions.Middleware(http.HandlerFunc(visits))

	// A browser.
	var cookies []*http.Cookie
	for range 2 {
		r := httptest.NewRequest(http.MethodGet, "https://example.com/", nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		cookies = append(cookies, w.Result().Cookies()...)
		fmt.Println(w.Body, w.Header().Get("Cache-Control"))
	}
	fmt.Println(cookies[0].Name, cookies[0].HttpOnly, cookies[0].Secure)
	// Output:
	// visit 1 no-store
	// visit 2 no-store
	// __Host-session true true
}

func ExampleCSRF() {
	m := newManager()
	sessions, err := web.New(m, web.Options{})
	if err != nil {
		log.Fatal(err)
	}
	csrf, err := web.NewCSRF(m, web.CSRFOptions{})
	if err != nil {
		log.Fatal(err)
	}
	form := template.Must(template.New("").Parse(`<form method="post">{{.}}<button>Buy</button></form>`))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		field, err := csrf.Field(r.Context())
		if err != nil {
			web.Error(w, err)
			return
		}
		_ = form.Execute(w, field)
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "bought") })
	handler := sessions.Middleware(csrf.Middleware(mux))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://example.com/", nil))
	fmt.Println(strings.Contains(w.Body.String(), `<input type="hidden" name="csrf_token" value="`))

	forged := httptest.NewRequest(http.MethodPost, "https://example.com/", nil)
	forged.Header.Set("Sec-Fetch-Site", "cross-site") // browsers say so, whatever the page wants
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, forged)
	fmt.Println(w.Code)
	// Output:
	// true
	// 403
}

func ExampleRequire() {
	sessions, err := web.New(newManager(), web.Options{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /signin", func(w http.ResponseWriter, r *http.Request) {
		// The password has been verified.
		err := web.FromContext(r.Context()).SignIn(r.Context(), "ann", session.Authentication{Methods: []string{"pwd"}})
		if err != nil {
			web.Error(w, err)
		}
	})
	recent := web.Require{MaxAge: 5 * time.Minute, Challenge: func(w http.ResponseWriter, r *http.Request, err error) {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
	}}
	mux.Handle("GET /delete-account", recent.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "really?")
	})))
	handler := sessions.Middleware(mux)

	ask := func(method, path string, cookies []*http.Cookie) *http.Response {
		r := httptest.NewRequest(method, "https://example.com"+path, nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Result()
	}
	fmt.Println(ask("GET", "/delete-account", nil).StatusCode)
	cookies := ask("POST", "/signin", nil).Cookies()
	fmt.Println(ask("GET", "/delete-account", cookies).StatusCode)
	// Output:
	// 303
	// 200
}
