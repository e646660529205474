package main

import (
	"bytes"
	"errors"
	"html/template"
	"net/http"

	"github.com/coatcheck-mcp/coatcheck/web"
)

// A page is what every template gets.
type page struct {
	Title   string
	User    string // who is signed in; "" for nobody
	Message string
	Error   string
	Content any

	field func() (template.HTML, error)
}

// CSRF is the hidden field that each form of a page has. A page without a form
// does not ask for it, and so starts no session.
func (p page) CSRF() (template.HTML, error) { return p.field() }

// messages are what a page may say after a redirect. The address bar picks one,
// and cannot make another.
var messages = map[string]string{
	"signed-out":      "You are signed out.",
	"ended":           "That session has ended.",
	"ended-others":    "You are signed out everywhere else.",
	"address-changed": "Your address is changed.",
}

func (a *app) parsePages() error {
	a.pages = map[string]*template.Template{}
	for _, name := range []string{"shop", "signin", "account", "address", "failed"} {
		t, err := template.ParseFS(pages, "pages/layout.html", "pages/"+name+".html")
		if err != nil {
			return err
		}
		a.pages[name] = t
	}
	return nil
}

// render answers with a page. It is made before anything is sent, so that an
// error still finds its status.
func (a *app) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	var (
		err  error
		body bytes.Buffer
	)
	p.field = func() (template.HTML, error) { return a.csrf.Field(r.Context()) }
	p.User, err = web.FromContext(r.Context()).User(r.Context())
	if err == nil {
		err = a.pages[name].ExecuteTemplate(&body, "layout", p)
	}
	if err != nil {
		web.Error(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // a visitor who has left
}

// denied answers what the CSRF middleware refuses.
func (a *app) denied(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, web.ErrForged) {
		web.Error(w, err)
		return
	}
	a.render(w, r, http.StatusForbidden, "failed", page{
		Title: "Not done",
		Error: "This form did not come from this site, or you have signed in or out since it was opened. Go back, reload the page and try again.",
	})
}
