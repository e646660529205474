package cluster

import (
	"errors"
	"fmt"
)

// What a Node can answer. Test with [errors.Is].
var (
	// ErrUnconfirmed: this node cannot tell that the others still count on
	// it. It must serve no sessions: answer 503 with Retry-After.
	ErrUnconfirmed = errors.New("this replica's heartbeat is not confirmed")
	// ErrClosed: the node has left.
	ErrClosed = errors.New("this replica has left the cluster")

	// ErrMoved: the member is not, or no longer, the owner, and has done
	// nothing with the request. Read the session's record again.
	ErrMoved = errors.New("the session is owned elsewhere")
	// ErrTake: the owner gives the session up to this node, and has done
	// nothing with the request. Read its record again, claim it, serve it.
	ErrTake = errors.New("the owner hands the session over")
	// ErrUndelivered: the member has not accepted the request, and will not.
	// Wait with [Node.Settle], then read the session's record again.
	ErrUndelivered = errors.New("the request could not be delivered to the owner")
	// ErrLost: the request was sent, or may have been, and there is no
	// answer. Whether it had an effect is not known. It is never repeated
	// unless it has none by its nature: the client gets 502.
	ErrLost = errors.New("the owner was lost before it answered")
	// ErrBusy: as many requests as Options.MaxForwards are being forwarded.
	// Answer 503 with Retry-After.
	ErrBusy = errors.New("too many requests are being forwarded")
	// ErrForwarded: the request came from a member, and is not forwarded
	// again.
	ErrForwarded = errors.New("the request was forwarded already")

	// ErrTooLarge: over one of the bounds of [Node.Publish].
	ErrTooLarge = errors.New("message too large")
)

// A RefusedError says why a request with a forward header was not accepted.
// Write it with [Refuse].
type RefusedError struct {
	// Status is what to answer: 400, 403, 421 or 503.
	Status int
	// Reason is a word for logs and metrics: it says nothing of what came.
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("forwarded request refused: %s", e.Reason)
}
