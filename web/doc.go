// Package web gives any net/http server sessions: middleware that reads the
// session of a request from a cookie or a header, keeps it in a
// [session.Manager], and protects forms against forgery (CSRF).
//
//	sessions, err := web.New(manager, web.Options{})
//	csrf, err := web.NewCSRF(manager, web.CSRFOptions{})
//	http.ListenAndServeTLS(addr, cert, key, sessions.Middleware(csrf.Middleware(mux)))
//
// A handler finds the session of its request by [FromContext]:
//
//	request ──▶ Sessions ──▶ CSRF ──▶ Require ──▶ handler ──▶ FromContext(ctx)
//	             │ takes the cookie      │ a recent              │ Get, Update
//	             │ or header off         │ sign-in?              │ SignIn, SignOut
//	             ▼                       ▼                       ▼
//	            403, 400              challenge          session.Manager ──▶ store
//
// # What is guaranteed
//
//   - A request that does not use its session does not touch the store.
//   - An anonymous visitor has a session from the first value on that is stored
//     for them, not before. Ids that a client made up are never adopted.
//   - What changes is written at once, by a function, under compare-and-swap:
//     parallel requests of one browser lose nothing, and nothing is left to be
//     written when the request ends. So a session that was ended meanwhile stays
//     ended: a request that had it gets session.ErrNotFound, and no new one.
//   - Signing in gives the browser a new id; the one from before opens nothing.
//   - With a Policy.RegenerateInterval the id is renewed now and then, and
//     parallel requests with the old one are handed the new one.
//   - An outage of the store is an error that [Error] answers with 503 and
//     Retry-After. It never makes a new session or removes a cookie.
//   - An answer for which the session was used is not stored by caches
//     (Cache-Control: no-store); one that ends the session clears the site's
//     data in the browser (Clear-Site-Data).
//   - What is given to a browser is written before the first byte of the answer.
//     Once that has been sent, what would need a new id is [ErrBegun].
//   - The handler's request has neither the cookie nor the header: ids get into
//     no log behind the middleware.
//
// The [http.ResponseWriter] that handlers get works with
// [http.ResponseController], and flushes, hijacks and copies as the one below
// it does.
//
// # The cookie
//
// It is __Host-session, Secure, HttpOnly and SameSite=Strict unless [Cookie]
// says otherwise; [New] refuses what a browser would not keep. Browsers accept
// Secure cookies on http://localhost, so developing needs nothing else; for
// clients that do not, there is Cookie.Insecure, which serves this machine
// alone.
//
// A second cookie of the name in a request is a planted one, and the request is
// 400: nothing tells which is which.
//
// With SameSite=Strict a browser keeps the cookie back when a page of another
// site links here. What would take such a reader for a stranger, by starting a
// session or asking for a sign-in, is [ErrWithheld] instead, for which [Error]
// has the browser open the page again, with the cookie. So GET must change
// nothing: a link can make it happen. Signing in is excepted, since people
// come back from identity providers by such links.
//
// # Without cookies
//
// With Options.Header a client may carry its id in that header. It asks for its
// first one by sending "new" there, and takes the id from the same header of
// answers, whenever there is one. Such requests need no CSRF token, since no
// page of another site can make them.
package web
