package state

import (
	"context"
	"encoding/json"
	"time"
)

// An Op is one write, given to [Store.Apply]: one of [CreateOp], [ImportOp],
// [UpdateOp], [TouchOp], [ExtendOp], [SetOwnerOp] and [DeleteOp], by value.
// What each does is said at [Store].
type Op interface {
	// Target is the record that the operation is about.
	Target() Key
	check() error
}

// A CreateOp inserts a record. Of the record Namespace, Kind, Ref, User,
// Secret.Hash, Meta, Data and Sealed are taken; the rest the store computes.
//
// Records of one user must share the routing byte of their refs: a store may
// keep them, and what it counts for the limit, where that byte leads. The
// limit is promised among records that do.
type CreateOp struct {
	Record   Record
	Idle     time.Duration // IdleDeadline is now plus this, at most AbsoluteDeadline
	Lifetime time.Duration // AbsoluteDeadline is now plus this
	Limit    Limit
	ID       OpID
	By       string // said in the End of what is evicted
}

// A Limit bounds how many live records there may be after a Create. It counts
// records of the same namespace and kind.
type Limit struct {
	// PerUser bounds those of the same user. Zero: no bound. It does not
	// apply to records without a user.
	PerUser int
	// Refuse answers ErrLimit instead of evicting the user's oldest.
	Refuse bool
	// Total bounds those of all users; over it, and after evicting for
	// PerUser, Create is ErrLimit. Zero: no bound.
	Total int
}

// Stamp returns what the new record's stamp is at now, by the store's clock.
func (op *CreateOp) Stamp(now time.Time) Stamp {
	now = Cut(now)
	s := Stamp{Version: 1, Revision: 1, Created: now, LastAccessed: now}
	s.AbsoluteDeadline = Cut(now.Add(op.Lifetime))
	s.IdleDeadline = earlier(Cut(now.Add(op.Idle)), s.AbsoluteDeadline)
	s.Remaining = s.Expires().Sub(now)
	return s
}

// An ImportOp inserts a record as it is, but for Owner, Epoch and Revision,
// which start anew: it is live nowhere.
type ImportOp struct{ Record Record }

// An UpdateOp replaces content if the version is the expected one.
type UpdateOp struct {
	Key     Key
	Version uint64 // expected; required
	Epoch   uint64 // zero: not compared
	ID      OpID

	Meta   *Metadata                  // nil: unchanged
	Data   map[string]json.RawMessage // nil: unchanged; else replaces all
	Sealed []byte                     // goes with Data: with that nil, unchanged; else replaces, nil too
	Rotate *Rotation                  // nil: unchanged
}

// A Rotation replaces the secret. The one before it counts for Grace longer:
// it becomes Secret.Previous. With a Grace of zero Previous becomes zero.
type Rotation struct {
	Hash  Hash
	Grace time.Duration
}

// Apply returns the secret after the rotation, at now by the store's clock.
func (r *Rotation) Apply(s Secret, now time.Time) Secret {
	if r.Grace <= 0 {
		return Secret{Hash: r.Hash}
	}
	return Secret{Hash: r.Hash, Previous: s.Hash, PreviousUntil: Cut(now.Add(r.Grace))}
}

// At returns the secret as it counts at now: without Previous once its time is
// over.
func (s Secret) At(now time.Time) Secret {
	if !s.Previous.IsZero() && !s.PreviousUntil.After(now) {
		return Secret{Hash: s.Hash}
	}
	return s
}

// A TouchOp notes that the record was used.
type TouchOp struct {
	Key   Key
	Idle  time.Duration // from now to the new idle deadline
	Epoch uint64        // zero: not compared
}

// Apply returns the stamp after the touch, at now by the store's clock, but
// for its Revision.
func (op *TouchOp) Apply(s Stamp, now time.Time) Stamp {
	now = Cut(now)
	s.LastAccessed = later(s.LastAccessed, now)
	s.IdleDeadline = later(s.IdleDeadline, earlier(Cut(now.Add(op.Idle)), s.AbsoluteDeadline))
	s.Remaining = s.Expires().Sub(now)
	return s
}

// An ExtendOp gives the record a new lifetime.
type ExtendOp struct {
	Key   Key
	For   time.Duration // both deadlines become now plus this
	Max   time.Duration // but at most Created plus this; required
	Epoch uint64        // zero: not compared
}

// Apply returns the stamp after the extension, at now by the store's clock,
// but for its Revision. An extension to a moment that is not after now ends
// the record: it is expired from then on.
func (op *ExtendOp) Apply(s Stamp, now time.Time) Stamp {
	now = Cut(now)
	s.LastAccessed = later(s.LastAccessed, now)
	s.AbsoluteDeadline = earlier(Cut(now.Add(op.For)), Cut(s.Created.Add(op.Max)))
	s.IdleDeadline = s.AbsoluteDeadline
	s.Remaining = s.Expires().Sub(now)
	return s
}

// A SetOwnerOp makes Owner the owner if the epoch is the expected one, and
// raises the epoch. An empty Owner releases the record.
type SetOwnerOp struct {
	Key   Key
	Epoch uint64 // expected; zero for a record that was never owned
	Owner string
}

// A DeleteOp ends a record.
type DeleteOp struct {
	Key    Key
	Reason Reason // required
	By     string // who, for people; at most MaxOwnerBytes
	Epoch  uint64 // zero: not compared
	ID     OpID
}

// A Result answers one operation.
type Result struct {
	// Stamp is the record's after Create, Import, Update, Touch, Extend and
	// SetOwner.
	Stamp Stamp
	// Ended is what a Delete ended, with one End, and what a Create evicted,
	// oldest first.
	Ended []End
	Err   error
}

// Target implements [Op]; so do those below.
func (op CreateOp) Target() Key   { return op.Record.Key() }
func (op ImportOp) Target() Key   { return op.Record.Key() }
func (op UpdateOp) Target() Key   { return op.Key }
func (op TouchOp) Target() Key    { return op.Key }
func (op ExtendOp) Target() Key   { return op.Key }
func (op SetOwnerOp) Target() Key { return op.Key }
func (op DeleteOp) Target() Key   { return op.Key }

// Do applies a single operation and returns its result and error.
func Do(ctx context.Context, s Store, op Op) (Result, error) {
	r := s.Apply(ctx, op)[0]
	return r, r.Err
}

// Cut reduces t to what a record keeps: UTC, at [Precision], no monotonic
// reading.
func Cut(t time.Time) time.Time { return t.Round(0).UTC().Truncate(Precision) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
