package streamable

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// A Refusal answers a request that is not served. It is an error, so that
// checks can return it, and writes itself as the response.
type Refusal struct {
	// Status is the HTTP status code; zero stands for 400.
	Status int
	// Text is said to the client. It never repeats what the client sent.
	Text string
	// RetryAfter, if positive, is sent as Retry-After, in whole seconds,
	// rounded up.
	RetryAfter time.Duration
	// Allow, if set, is sent as Allow; RFC 9110 requires it with 405.
	Allow string
}

// Error implements error.
func (r *Refusal) Error() string { return fmt.Sprintf("refused with %d: %s", r.status(), r.Text) }

func (r *Refusal) status() int {
	if r.Status == 0 {
		return http.StatusBadRequest
	}
	return r.Status
}

// ServeHTTP writes the refusal. The body is plain text: clients of the SDKs
// read a JSON-RPC error in the body as the failure of one call, and would miss
// that the session is gone.
func (r *Refusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if r.RetryAfter > 0 {
		seconds := (r.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if r.Allow != "" {
		w.Header().Set("Allow", r.Allow)
	}
	http.Error(w, r.Text, r.status())
}

// NotFound refuses a session that was never issued, has ended or has expired,
// and one that belongs to somebody else: the answer is the same to the byte,
// so that nobody learns which. A client that gets it initializes anew.
func NotFound() *Refusal {
	return &Refusal{Status: http.StatusNotFound, Text: "session not found"}
}

// Unavailable refuses what cannot be served just now, and says when to ask
// again. It is never to be confused with [NotFound], on which a client would
// throw its session away.
func Unavailable(text string, retry time.Duration) *Refusal {
	return &Refusal{Status: http.StatusServiceUnavailable, Text: text, RetryAfter: retry}
}

// MethodNotAllowed refuses an HTTP method and names those that are served.
func MethodNotAllowed(allow string) *Refusal {
	return &Refusal{Status: http.StatusMethodNotAllowed, Text: "Method Not Allowed", Allow: allow}
}

// Forbidden refuses for who asks or from where.
func Forbidden(text string) *Refusal {
	return &Refusal{Status: http.StatusForbidden, Text: text}
}

// BadRequest refuses what breaks the protocol.
func BadRequest(text string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Text: text}
}
