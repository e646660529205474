package web

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"time"

	"github.com/coatcheck-mcp/coatcheck/session"
)

var (
	errSlow = errors.New("the form did not arrive in time")
	errForm = errors.New("the form cannot be read")
)

// Middleware refuses requests that another site may have made. It stands behind
// [Sessions.Middleware].
//
// GET, HEAD and OPTIONS pass: they must change nothing. Others pass
//
//   - if the browser says that they come from this site or a trusted origin,
//     unless a token is required as well;
//   - if they have the session in a header, which other sites cannot set;
//   - with a token of their session.
func (c *CSRF) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.check(w, r); err != nil {
			c.opts.Deny(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (c *CSRF) check(w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	s := FromContext(r.Context())
	if s.sessions == nil {
		return ErrNoMiddleware
	}
	vouched, err := c.checkOrigin(r)
	if err != nil || s.ticket.stated || vouched && !c.opts.RequireToken {
		return err
	}
	now, err := s.current(r.Context())
	if errors.Is(err, session.ErrNotFound) {
		return fmt.Errorf("%w: it has neither a session nor an origin", ErrForged)
	}
	if err != nil {
		return err
	}
	token, err := c.presented(w, r)
	if err != nil {
		return err
	}
	if !verifyToken(now, token) {
		return fmt.Errorf("%w: it has no token of its session", ErrForged)
	}
	return nil
}

// checkOrigin refuses a request from elsewhere, and reports whether the browser
// vouches for this one. The same header twice vouches for nothing.
func (c *CSRF) checkOrigin(r *http.Request) (vouched bool, err error) {
	if len(r.Header["Sec-Fetch-Site"]) > 1 || len(r.Header["Origin"]) > 1 {
		return false, fmt.Errorf("%w: it has more than one origin", ErrForged)
	}
	if err := c.origins.Check(r); err != nil {
		return false, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "", nil
}

// presented returns the token of a request, or "".
func (c *CSRF) presented(w http.ResponseWriter, r *http.Request) (string, error) {
	if values := r.Header[c.opts.Header]; len(values) > 0 {
		return single(values)
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch media {
	case "application/x-www-form-urlencoded", "multipart/form-data":
	default:
		return "", nil
	}
	if err := c.parseForm(w, r, media); err != nil {
		return "", err
	}
	return single(r.PostForm[c.opts.Field])
}

func single(values []string) (string, error) {
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", fmt.Errorf("%w: it has more than one token", ErrForged)
}

// parseForm reads the form, within bounds of size and time. Nothing of it goes
// to files, and the handler finds it parsed.
func (c *CSRF) parseForm(w http.ResponseWriter, r *http.Request, media string) error {
	if r.ContentLength > c.opts.MaxFormBytes {
		return &http.MaxBytesError{Limit: c.opts.MaxFormBytes}
	}
	control := http.NewResponseController(w)
	bounded := control.SetReadDeadline(time.Now().Add(c.opts.FormTimeout)) == nil
	r.Body = http.MaxBytesReader(w, r.Body, c.opts.MaxFormBytes)
	var err error
	if media == "multipart/form-data" {
		err = r.ParseMultipartForm(c.opts.MaxFormBytes)
	} else {
		err = r.ParseForm()
	}
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return tooLong
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	case err != nil:
		return errForm // its text may quote the form
	}
	if bounded {
		// The form is here; what the handler does may take its time.
		_ = control.SetReadDeadline(time.Time{})
	}
	return nil
}
