package state

import (
	"errors"
	"fmt"
	"time"
)

// What a store can answer. Test with [errors.Is]; the typed errors below carry
// more. No error of a store contains a secret, a user or data.
var (
	// ErrNotFound: there is no such record: never created, ended, or expired.
	// As a [*NotFoundError] it may say how it ended.
	ErrNotFound = errors.New("not found")
	// ErrExists: the ref is taken, by a record or by a tombstone.
	ErrExists = errors.New("already exists")
	// ErrConflict: the version is not the expected one; nothing was written.
	// Read again and decide again. As a [*ConflictError] it has the version.
	ErrConflict = errors.New("version conflict")
	// ErrFenced: the caller's epoch is stale: somebody else owns the record
	// now. Never retried. As a [*FencedError] it has the epoch.
	ErrFenced = errors.New("fenced by a newer epoch")
	// ErrLimit: the limit of a Create that does not evict is reached. As a
	// [*LimitError] it says which.
	ErrLimit = errors.New("limit reached")
	// ErrTooLarge: over one of the bounds; as a [*BoundError] it says which.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid: an argument that no store accepts; as an [*InvalidError] it
	// says which.
	ErrInvalid = errors.New("invalid")
	// ErrUnsupported: this store cannot filter by that field; as an
	// [*UnsupportedError] it says which.
	ErrUnsupported = errors.New("unsupported by this store")
	// ErrUnavailable: the store could not be asked, and nothing was written.
	// It may be retried. Never to be taken for ErrNotFound.
	ErrUnavailable = errors.New("store unavailable")
	// ErrFull: there is no room; nothing was written. Also ErrUnavailable.
	ErrFull = fmt.Errorf("%w: no room left", ErrUnavailable)
	// ErrUnknownOutcome: the write may or may not have happened. Read the
	// record and compare LastOp; do not blindly repeat.
	ErrUnknownOutcome = errors.New("unknown outcome")
	// ErrBelowLevel: the leader has the write, but too few other nodes have
	// confirmed it in time, so it may still be lost with the leader. Also
	// ErrUnknownOutcome. As a [*BelowLevelError] it says how many.
	ErrBelowLevel = fmt.Errorf("%w: below its replication level", ErrUnknownOutcome)
	// ErrCorrupt: what is stored cannot be understood.
	ErrCorrupt = errors.New("stored record is corrupt")
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("store closed")
	// ErrTrimmed: the events asked for are no longer, or were never, kept.
	ErrTrimmed = errors.New("events no longer kept")
)

// NotFoundError is [ErrNotFound] with what is remembered.
type NotFoundError struct {
	// End is nil if nothing is remembered of the record. For one that has
	// expired and was not swept yet it says so.
	End *End
}

func (e *NotFoundError) Error() string {
	if e.End == nil {
		return "not found"
	}
	return fmt.Sprintf("not found: ended at %s: %s", e.End.At.Format(time.RFC3339), e.End.Reason)
}

// Is reports whether target is [ErrNotFound].
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// ConflictError is [ErrConflict] with the version that is there.
type ConflictError struct{ Want, Have uint64 }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("version conflict: want %d, have %d", e.Want, e.Have)
}

// Is reports whether target is [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// FencedError is [ErrFenced] with the epoch and owner that are there.
type FencedError struct {
	Want, Have uint64
	Owner      string
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("fenced by a newer epoch: want %d, have %d", e.Want, e.Have)
}

// Is reports whether target is [ErrFenced].
func (e *FencedError) Is(target error) bool { return target == ErrFenced }

// LimitError is [ErrLimit] with the limit that was reached: "user" or "total".
type LimitError struct {
	Scope string
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("limit reached: %d per %s", e.Limit, e.Scope)
}

// Is reports whether target is [ErrLimit].
func (e *LimitError) Is(target error) bool { return target == ErrLimit }

// BoundError is [ErrTooLarge] with the bound, in bytes.
type BoundError struct {
	What      string
	Size, Max int
}

func (e *BoundError) Error() string {
	return fmt.Sprintf("%s too large: %d bytes, at most %d", e.What, e.Size, e.Max)
}

// Is reports whether target is [ErrTooLarge].
func (e *BoundError) Is(target error) bool { return target == ErrTooLarge }

// InvalidError is [ErrInvalid] with what is wrong with which argument.
type InvalidError struct{ What, Why string }

func (e *InvalidError) Error() string { return "invalid " + e.What + ": " + e.Why }

// Is reports whether target is [ErrInvalid].
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// UnsupportedError is [ErrUnsupported] with the field of [Query] that the
// store cannot filter by.
type UnsupportedError struct{ Field string }

func (e *UnsupportedError) Error() string {
	return "this store cannot filter by " + e.Field
}

// Is reports whether target is [ErrUnsupported].
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }

// BelowLevelError is [ErrBelowLevel] with how many followers had confirmed the
// write, and how many its level needs.
type BelowLevelError struct {
	Level      Replication
	Have, Need int
}

func (e *BelowLevelError) Error() string {
	return fmt.Sprintf("%s: %d of the %d followers that %s needs confirmed it in time", ErrBelowLevel, e.Have, e.Need, e.Level)
}

// Is reports whether target is [ErrBelowLevel] or [ErrUnknownOutcome].
func (e *BelowLevelError) Is(target error) bool {
	return target == ErrBelowLevel || target == ErrUnknownOutcome
}
