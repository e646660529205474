package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/web"
)

// askToSignIn is the challenge of pages that need it.
func askToSignIn(w http.ResponseWriter, r *http.Request, err error) {
	query := url.Values{"next": {"/account"}}
	if r.Method == http.MethodGet {
		query.Set("next", r.URL.Path)
	}
	if errors.Is(err, web.ErrStale) {
		query.Set("again", "1")
	}
	http.Redirect(w, r, "/signin?"+query.Encode(), http.StatusSeeOther)
}

func (a *app) signInForm(w http.ResponseWriter, r *http.Request) {
	a.renderSignIn(w, r, http.StatusOK, "")
}

func (a *app) renderSignIn(w http.ResponseWriter, r *http.Request, status int, problem string) {
	a.render(w, r, status, "signin", page{
		Title: "Sign in", Error: problem,
		Content: map[string]any{"Next": here(r.FormValue("next")), "Again": r.FormValue("again") != "", "Name": r.PostFormValue("user")},
	})
}

// signIn checks the password, and gives the browser a session of the user with
// what the basket had.
func (a *app) signIn(w http.ResponseWriter, r *http.Request) {
	user := r.PostFormValue("user")
	known, err := a.people.Verify(r.Context(), user, r.PostFormValue("password"))
	if err != nil {
		web.Error(w, err)
		return
	}
	if !known {
		a.renderSignIn(w, r, http.StatusForbidden, "The name or the password is wrong.")
		return
	}
	err = web.FromContext(r.Context()).SignIn(r.Context(), user, session.Authentication{Methods: []string{"pwd"}})
	if err != nil {
		web.Error(w, err)
		return
	}
	http.Redirect(w, r, here(r.PostFormValue("next")), http.StatusSeeOther)
}

func (a *app) signOut(w http.ResponseWriter, r *http.Request) {
	if err := web.FromContext(r.Context()).SignOut(r.Context()); err != nil {
		web.Error(w, err)
		return
	}
	http.Redirect(w, r, "/?said=signed-out", http.StatusSeeOther)
}

// here returns the path if it is one of this site, and the front page otherwise:
// a link must not lead people from our sign-in to another site.
func here(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path, "/") ||
		strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

func price(cents int) string { return fmt.Sprintf("€ %d.%02d", cents/100, cents%100) }
