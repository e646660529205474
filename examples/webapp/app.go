package main

import (
	"embed"
	"html/template"
	"net/http"
	"sync"
	"time"

	"github.com/coatcheck-mcp/coatcheck/examples/internal/accounts"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/web"
)

//go:embed pages
var pages embed.FS

// recently is how long ago the password may have been typed when an address is
// changed or a session ended.
const recently = 5 * time.Minute

// An app is the shop.
type app struct {
	people *accounts.Accounts
	csrf   *web.CSRF
	pages  map[string]*template.Template

	mu        sync.Mutex // guards addresses
	addresses map[string]string
}

// newApp returns the shop behind its middleware.
func newApp(m *session.Manager, people *accounts.Accounts) (http.Handler, error) {
	sessions, err := web.New(m, web.Options{})
	if err != nil {
		return nil, err
	}
	a := &app{people: people, addresses: map[string]string{}}
	if a.csrf, err = web.NewCSRF(m, web.CSRFOptions{RequireToken: true, MaxFormBytes: 16 << 10, Deny: a.denied}); err != nil {
		return nil, err
	}
	if err := a.parsePages(); err != nil {
		return nil, err
	}
	return secured(sessions.Middleware(a.csrf.Middleware(a.routes()))), nil
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.shop)
	mux.HandleFunc("POST /basket", a.add)
	mux.HandleFunc("POST /basket/empty", a.empty)
	mux.HandleFunc("GET /signin", a.signInForm)
	mux.HandleFunc("POST /signin", a.signIn)
	mux.HandleFunc("POST /signout", a.signOut)
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=300")
		http.ServeFileFS(w, r, pages, "pages/style.css")
	})

	signedIn := web.Require{Challenge: askToSignIn}
	mux.Handle("GET /account", signedIn.Middleware(http.HandlerFunc(a.account)))

	// A stolen cookie must neither change the address nor sign its owner out.
	stepUp := web.Require{MaxAge: recently, Methods: []string{"pwd"}, Challenge: askToSignIn}
	mux.Handle("GET /account/address", stepUp.Middleware(http.HandlerFunc(a.addressForm)))
	mux.Handle("POST /account/address", stepUp.Middleware(http.HandlerFunc(a.changeAddress)))
	mux.Handle("POST /account/end", stepUp.Middleware(http.HandlerFunc(a.end)))
	mux.Handle("POST /account/end-others", stepUp.Middleware(http.HandlerFunc(a.endOthers)))
	return mux
}

// secured sets the headers that every page of a site should have.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
