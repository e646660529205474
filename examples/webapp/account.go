package main

import (
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/web"
)

// A visit is a row of the list of sessions.
type visit struct {
	Ref             string
	Here            bool
	Browser         string
	Address         string
	Since, LastUsed string
	SinceTime       string // for machines
}

func (a *app) account(w http.ResponseWriter, r *http.Request) {
	visits, err := a.visits(r)
	if err != nil {
		web.Error(w, err)
		return
	}
	a.render(w, r, http.StatusOK, "account", page{
		Title: "Your account", Message: messages[r.FormValue("said")],
		Content: map[string]any{"Visits": visits, "Address": a.address(r)},
	})
}

// visits lists where the user is signed in.
func (a *app) visits(r *http.Request) ([]visit, error) {
	own := web.FromContext(r.Context())
	now, err := own.Load(r.Context())
	if err != nil {
		return nil, err
	}
	var visits []visit
	for s, err := range own.List(r.Context()) {
		if err != nil {
			return nil, err
		}
		visits = append(visits, visit{
			Ref: s.Ref.String(), Here: s.Ref == now.Ref, Browser: browser(s.Metadata.UserAgent), Address: s.Metadata.Address.String(),
			Since: when(s.Created), SinceTime: s.Created.Format("2006-01-02T15:04:05Z07:00"), LastUsed: when(s.LastAccessed),
		})
	}
	return visits, nil
}

// end ends one of the user's sessions.
func (a *app) end(w http.ResponseWriter, r *http.Request) {
	ref, err := state.ParseRef(r.PostFormValue("ref"))
	if err == nil {
		err = web.FromContext(r.Context()).End(r.Context(), ref)
	}
	if err != nil && !errors.Is(err, web.ErrNotYours) { // one that has ended is what was wanted
		web.Error(w, err)
		return
	}
	http.Redirect(w, r, "/account?said=ended", http.StatusSeeOther)
}

func (a *app) endOthers(w http.ResponseWriter, r *http.Request) {
	if _, err := web.FromContext(r.Context()).SignOutOthers(r.Context()); err != nil {
		web.Error(w, err)
		return
	}
	http.Redirect(w, r, "/account?said=ended-others", http.StatusSeeOther)
}

// address returns the address of the user who is signed in.
func (a *app) address(r *http.Request) string {
	user, err := web.FromContext(r.Context()).User(r.Context())
	if err != nil || user == "" {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.addresses[user]
}

func (a *app) addressForm(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "address", page{Title: "Your address", Content: map[string]any{"Address": a.address(r)}})
}

const maxAddress = 500

func (a *app) changeAddress(w http.ResponseWriter, r *http.Request) {
	own, text := web.FromContext(r.Context()), strings.TrimSpace(r.PostFormValue("address"))
	if text == "" || len(text) > maxAddress || !utf8.ValidString(text) {
		a.render(w, r, http.StatusBadRequest, "address", page{
			Title: "Your address", Error: "Write an address of at most 500 characters.", Content: map[string]any{"Address": a.address(r)},
		})
		return
	}
	now, err := own.Load(r.Context())
	if err != nil {
		web.Error(w, err)
		return
	}
	a.setAddress(now, text)
	http.Redirect(w, r, "/account?said=address-changed", http.StatusSeeOther)
}

func (a *app) setAddress(now *session.Session, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addresses[now.User] = text
}
