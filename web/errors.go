package web

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// What this package answers besides the errors of package session.
var (
	// ErrNoMiddleware: the handler is not behind [Sessions.Middleware].
	ErrNoMiddleware = errors.New("no session middleware around this handler: wrap it in Sessions.Middleware")
	// ErrBegun: the answer has begun, so the client cannot be given an id any
	// more. Nothing was done. Use the session before the first byte.
	ErrBegun = errors.New("the response has begun: sign in, and store first values, before writing it")
	// ErrAmbiguous: the request names more than one session.
	ErrAmbiguous = errors.New("the request names more than one session")
	// ErrWithheld: the request was started by a page of another site, so the
	// browser may have kept the cookie back, and a new one would replace it:
	// see package web. [Error] has the browser open the page again from here.
	ErrWithheld = errors.New("the browser may have kept the session cookie back: the request comes from another site")
	// ErrSignedOut: the request is not signed in.
	ErrSignedOut = errors.New("not signed in")
	// ErrForged: the request may be of another site's making; see [CSRF].
	ErrForged = errors.New("the request does not prove that it comes from this site")
	// ErrNotYours: the user has no such session; see [Session.End].
	ErrNotYours = errors.New("the user has no such session")
	// ErrStale: the sign-in is too long ago or was too weak; see [StepUp].
	ErrStale = errors.New("a more recent or stronger sign-in is needed")
)

// errNotLocal refuses a request from elsewhere where cookies are not Secure.
var errNotLocal = errors.New("cookies without Secure are for this machine alone")

// errPrincipal hides what was wrong with credentials.
var errPrincipal = errors.New("not authenticated")

// retryAfter is how many seconds clients are told to wait.
func retryAfter(err error) string {
	var rate *session.RateError
	if errors.As(err, &rate) {
		return strconv.FormatInt(int64(max(1, math.Ceil(rate.After.Seconds()))), 10)
	}
	return "1"
}

// Error answers a request that failed with an error of this package or of
// package session; any other is 500. An outage is 503 with Retry-After, and
// never looks like a session that is gone. The answer repeats nothing that the
// client sent, and does not say what the error says.
func Error(w http.ResponseWriter, err error) {
	if errors.Is(err, errReopen) {
		reopen(w)
		return
	}
	status, text := answer(err)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	switch status {
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfter(err))
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Session")
	}
	http.Error(w, text, status)
}

func answer(err error) (status int, text string) {
	is := func(target error) bool { return errors.Is(err, target) }
	var tooLong *http.MaxBytesError
	switch {
	case is(ErrAmbiguous):
		return http.StatusBadRequest, "more than one session in the request: delete this site's cookies and try again"
	case is(ErrWithheld):
		return http.StatusForbidden, "this came from another site: open the page from here"
	case is(errNotLocal):
		return http.StatusForbidden, errNotLocal.Error()
	case is(ErrForged):
		return http.StatusForbidden, "this request does not prove that it comes from this site: reload the page and try again"
	case is(ErrStale):
		return http.StatusForbidden, "this needs a more recent or stronger sign-in"
	case is(ErrSignedOut), is(errPrincipal), is(session.ErrNotFound):
		return http.StatusUnauthorized, "not signed in, or the session has ended"
	case is(ErrNotYours), is(state.ErrMalformedRef):
		return http.StatusNotFound, "no such session"
	case is(session.ErrTooLarge):
		return http.StatusRequestEntityTooLarge, "the session cannot hold that much"
	case errors.As(err, &tooLong):
		return http.StatusRequestEntityTooLarge, "the form is too large"
	case is(session.ErrInvalid):
		return http.StatusBadRequest, "the session cannot hold what was sent"
	case is(errSlow):
		return http.StatusRequestTimeout, "the form took too long to arrive"
	case is(errForm):
		return http.StatusBadRequest, "the form cannot be read"
	case is(session.ErrLimit):
		return http.StatusServiceUnavailable, "too many sessions, try again later"
	case is(session.ErrUnavailable), is(session.ErrUnknownOutcome), is(session.ErrConflict), is(session.ErrClosed),
		is(context.DeadlineExceeded), is(context.Canceled):
		return http.StatusServiceUnavailable, "sessions are unavailable, try again"
	}
	return http.StatusInternalServerError, "internal error"
}
