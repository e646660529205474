package session

import (
	"errors"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// What the Manager can answer besides an error of the context. Those that a
// store gives are the store's own, so that [errors.Is] and [errors.As] work
// with the names of either package.
var (
	// ErrNotFound: there is no such session: never issued, ended, expired, or
	// not the caller's. Methods that take an [ID] return exactly this value.
	ErrNotFound = state.ErrNotFound
	// ErrConflict: an Update kept losing against others. Nothing was written.
	ErrConflict = state.ErrConflict
	// ErrLimit: a limit of the policy refuses a new session. As a
	// [*state.LimitError] it says which.
	ErrLimit = state.ErrLimit
	// ErrFenced: another process owns the session now.
	ErrFenced = state.ErrFenced
	// ErrTooLarge: over a bound; as a [*state.BoundError] it says which.
	ErrTooLarge = state.ErrTooLarge
	// ErrInvalid: an argument is not acceptable; as a [*state.InvalidError] it
	// says which.
	ErrInvalid = state.ErrInvalid
	// ErrUnsupported: this store cannot filter by that field.
	ErrUnsupported = state.ErrUnsupported
	// ErrUnavailable: the store could not be asked; nothing was written, and
	// it may be tried again.
	ErrUnavailable = state.ErrUnavailable
	// ErrUnknownOutcome: a write may or may not have happened, and asking the
	// store did not tell.
	ErrUnknownOutcome = state.ErrUnknownOutcome
	// ErrCorrupt: what is stored cannot be understood.
	ErrCorrupt = state.ErrCorrupt
	// ErrClosed: the store has been closed.
	ErrClosed = state.ErrClosed
)

var (
	// ErrMalformedID: the text is no id at all; see [ParseID].
	ErrMalformedID = errors.New("malformed session id")
	// ErrReservedKey: the key belongs to Coatcheck; see [ReservedPrefix].
	ErrReservedKey = errors.New("reserved key: keys that begin with \"" + ReservedPrefix + "\" are not the application's")
	// ErrFixedID: the client's protocol has no way to hand it a new id; see
	// [CreateRequest.FixedID].
	ErrFixedID = errors.New("session id cannot be changed, since its client cannot be told: end the session instead")
	// ErrSuperseded: the id has been regenerated, and the record does not lead
	// to the new one. It works for the rest of its grace, but cannot be
	// regenerated again.
	ErrSuperseded = errors.New("session id was regenerated already: use the new one")
	// ErrPolicy: a policy that cannot be kept.
	ErrPolicy = errors.New("invalid session policy")
)
