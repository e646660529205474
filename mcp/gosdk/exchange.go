package gosdk

import (
	"context"
	"net/http"

	"github.com/coatcheck-mcp/coatcheck/mcp/streamable"
)

// An exchange is one HTTP request that goes through the SDK, and the context
// of that request: so the event store, which the SDK calls with the context,
// finds the request that it works for, and the SDK finds the protocol revision.
type exchange struct {
	context.Context                 // the client's request
	version         context.Context // from which the SDK reads the revision; nil for none

	live *live
	kind kind
	// calls is how many answers a POST waits for, and tag what stands for its
	// call in event ids: see callTag.
	calls int
	tag   string
	batch bool
	// id is what a client is told if its initialize succeeds.
	id string
	// resume is the event id that a GET resumes from, if it does.
	resume eventID
	// held: the standalone stream's events are not trimmed until this request
	// has read what it replays.
	held bool

	stream *stream // that the SDK opened for a POST
	seat   *seat   // nil but in a cluster
	// again: the SDK has done nothing with the request, and the client was
	// told nothing. It is served elsewhere, or later.
	again bool
	// failure is why events could not be replayed.
	failure error

	out response
}

// A kind says what a response is.
type kind int

const (
	posted     kind = iota // the answer to a POST
	standalone             // a GET of the stream of the session itself
	resumed                // a GET of what is left of a POST's stream
)

type exchangeKey struct{}

// Value implements context.Context.
func (x *exchange) Value(key any) any {
	if _, ok := key.(exchangeKey); ok {
		return x
	}
	if v := x.Context.Value(key); v != nil || x.version == nil {
		return v
	}
	return x.version.Value(key)
}

// exchangeOf returns the request that ctx is of, or nil.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// refusal replaces an answer of the SDK's that would mislead the client, or is
// nil. The SDK's transport says 404 while it closes: only a session that has
// ended may be told so, since its client throws it away. And it says 400 when
// events cannot be read, even if only for the moment.
func (x *exchange) refusal(status int) *streamable.Refusal {
	switch {
	case status == 404 && !x.live.hasEnded():
		return unavailable()
	case status == 404:
		return streamable.NotFound()
	case status == 400 && x.failure != nil && isOutage(x.failure):
		return unavailable()
	}
	return nil
}

// mayTryAgain reports whether the request need not be refused, since the SDK
// has done nothing with it: in a cluster the session may have moved on, and
// goes on in another replica.
func (x *exchange) mayTryAgain(refusal *streamable.Refusal) bool {
	return x.live.h.opts.Cluster != nil && refusal.Status == http.StatusServiceUnavailable && !x.batch && x.id == ""
}

// unanswered is what is said when the SDK returned without a word.
func (x *exchange) unanswered() *streamable.Refusal {
	if x.live.hasEnded() {
		return streamable.NotFound()
	}
	return unavailable()
}
