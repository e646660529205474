package web

import (
	"fmt"
	"io"
	"net/http"
)

// errReopen is ErrWithheld where opening the page again from here helps.
var errReopen = fmt.Errorf("%w; it may be opened again from here", ErrWithheld)

// withheld reports whether the browser keeps the cookie back in such a request,
// if it has one, for the sake of SameSite. Then nothing may be concluded from
// its absence: a session started for that request would replace the one that
// the browser has, so that every link to us signed its reader out.
func (s *Sessions) withheld(r *http.Request) bool {
	if s.opts.HeaderOnly || r.Header.Get("Sec-Fetch-Site") != "cross-site" {
		return false
	}
	switch s.cookie.SameSite {
	case http.SameSiteStrictMode:
		return true
	case http.SameSiteLaxMode:
		return !opensPage(r)
	}
	return false
}

// opensPage reports whether the request opens a page in a tab.
func opensPage(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// elsewhere is the error of a request that needs the cookie that may have been
// kept back.
func (s *Session) elsewhere() error {
	if opensPage(s.request) {
		return errReopen
	}
	return ErrWithheld
}

// reopen answers with a page that opens the same address again. What a page
// opens is no other site's doing, so this time the cookie comes along.
func reopen(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Refresh", "0")
	_, _ = io.WriteString(w, `<!doctype html><html lang="en"><meta name="robots" content="noindex"><title>One moment</title><p><a href="">Continue</a></p></html>`)
}
