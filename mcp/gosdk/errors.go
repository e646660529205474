package gosdk

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// retryAfter is what clients are told to wait.
const retryAfter = time.Second

func unavailable() *streamable.Refusal {
	return streamable.Unavailable("session state is unavailable, try again", retryAfter)
}

func draining() *streamable.Refusal {
	return streamable.Unavailable("server is shutting down, try again", retryAfter)
}

// isOutage reports whether the store could not say, as opposed to saying no.
func isOutage(err error) bool {
	for _, answer := range []error{
		state.ErrNotFound, state.ErrTrimmed, state.ErrFenced, state.ErrTooLarge, state.ErrInvalid,
	} {
		if errors.Is(err, answer) {
			return false
		}
	}
	return true
}

// refusalFor turns whatever a request failed with into its answer. Only a
// session that is not there is 404.
func refusalFor(err error) *streamable.Refusal {
	var (
		refusal *streamable.Refusal
		rate    *session.RateError
	)
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &rate):
		return streamable.Unavailable("too many new sessions from one address, try again later", rate.After)
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrMalformedID):
		return streamable.NotFound()
	case errors.Is(err, session.ErrLimit):
		return streamable.Unavailable("too many sessions, try again later", retryAfter)
	case errors.Is(err, session.ErrTooLarge):
		return &streamable.Refusal{Status: http.StatusRequestEntityTooLarge, Text: "session state is too large"}
	case errors.Is(err, session.ErrInvalid):
		return streamable.BadRequest("session state cannot hold what was sent")
	}
	return unavailable()
}

// refuse answers a request that is not served.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	var misdirected *cluster.RefusedError
	if errors.As(err, &misdirected) || errors.Is(err, cluster.ErrMoved) || errors.Is(err, cluster.ErrTake) {
		cluster.Refuse(w, err)
		return
	}
	refusalFor(err).ServeHTTP(w, r)
}

// worthLogging reports whether an operator may have to act on the error: not on
// what clients do wrong, nor on those who left. What limits refuse is an event
// of the Manager's; a line for each would be one more thing to flood.
func worthLogging(err error) bool {
	var refusal *streamable.Refusal
	for _, expected := range []error{context.Canceled, session.ErrLimit, cluster.ErrMoved, cluster.ErrTake, cluster.ErrUnconfirmed} {
		if errors.Is(err, expected) {
			return false
		}
	}
	return !errors.As(err, &refusal) && refusalFor(err).Status == http.StatusServiceUnavailable
}
