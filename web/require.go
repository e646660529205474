package web

import (
	"math"
	"net/http"
	"time"
)

// Require lets only those through who have proved who they are: at all, not
// long ago, or by certain methods, as is due before a sensitive step (step-up,
// OWASP ASVS 5.0, 7.5.1 and 7.5.3). The zero value asks for a sign-in, however
// old. It stands behind [Sessions.Middleware], and is not changed once in use.
type Require struct {
	// MaxAge is how long ago the sign-in may be. Zero: any time.
	MaxAge time.Duration
	// Methods are those by which it must have been, each within MaxAge: what
	// was given to [Session.SignIn].
	Methods []string
	// Challenge answers the others: with a redirect to the page for signing in,
	// for instance. err is [ErrSignedOut] or [ErrStale]. Nil: [Error], which
	// says 401 and 403.
	Challenge func(w http.ResponseWriter, r *http.Request, err error)
}

// Middleware lets through to next what meets the requirement. When the store
// cannot tell, that is 503. Where the cookie may be missing because another site
// links here, the browser opens the page again.
func (q Require) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		met, err := q.check(r)
		switch {
		case err != nil:
			Error(w, err)
		case met == nil:
			next.ServeHTTP(w, r)
		case q.Challenge == nil:
			Error(w, met)
		default:
			q.Challenge(w, r, met)
		}
	})
}

// check returns nil, or what is missing; err is why that cannot be told.
func (q Require) check(r *http.Request) (missing, err error) {
	s := FromContext(r.Context())
	now, err := s.signedIn(r.Context())
	if err == ErrSignedOut && s.ticket.withheld {
		return nil, s.elsewhere()
	}
	if err == ErrSignedOut {
		return ErrSignedOut, nil
	}
	if err != nil {
		return nil, err
	}
	if q.MaxAge == 0 && len(q.Methods) == 0 {
		return nil, nil
	}
	age := q.MaxAge
	if age == 0 {
		age = math.MaxInt64
	}
	if !now.AuthenticatedWithin(age, q.Methods...) {
		return ErrStale, nil
	}
	return nil, nil
}
