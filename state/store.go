package state

import (
	"context"
	"errors"
	"iter"
	"time"
)

// A Store keeps records. This comment is the contract: whoever implements it
// needs nothing else, and statetest.Run checks every sentence.
//
// # Time
//
// A record has expired when the store's clock has reached one of its
// deadlines. The store's clock is that of the backend where it has one, else
// that of the process; it does not run backwards while the store is open, and
// differs from true elapsed time by no more than [Guarantees.ClockError].
// Operations carry durations, and the store turns them into deadlines by its
// own clock. An expired record does not exist for any operation from that
// moment on, whether or not a sweep has run: Get, Update, Touch, Extend,
// SetOwner and Delete do not find it, it counts towards no limit and never
// comes back. Only Sweep, and List when asked, still see it.
//
// # Writes
//
// Every write is an operation given to Apply. There is no other way to write,
// and none that both creates and overwrites.
//
//   - [CreateOp] inserts. A ref that names a record, live or expired, or a
//     tombstone is [ErrExists]. Counting towards a limit, ending what must make
//     room and inserting are one atomic step, however many callers race: the
//     limit is never exceeded, and never undershot by evicting for an insert
//     that then fails. The oldest is evicted first: by Created, then by Ref.
//   - [ImportOp] inserts a record as it is, version and times kept, where
//     there is neither a record nor a tombstone ([ErrExists] otherwise). One
//     that has expired already is [ErrNotFound], whatever is there. No limit
//     applies.
//   - [UpdateOp] is a compare-and-swap: if the record's version is not the
//     expected one, [ErrConflict]; else the content given is replaced and the
//     version rises by exactly one. It never changes a deadline, nor Owner,
//     Epoch, User, Kind or Created.
//   - [TouchOp] moves LastAccessed to now and IdleDeadline to now plus the
//     duration given, at most to AbsoluteDeadline. Both only move forward. It
//     changes no data and no version.
//   - [ExtendOp] sets both deadlines to now plus the duration given, be that
//     longer or shorter, at most Created plus the maximum given, and
//     LastAccessed to now. It changes no version.
//   - [SetOwnerOp] compares the epoch ([ErrFenced] on a mismatch), sets Owner
//     and raises Epoch by one. It changes no version.
//   - [DeleteOp] ends a record and leaves a tombstone for [TombstoneTTL]. It
//     is idempotent: where there is nothing to end it succeeds, and its result
//     says that it ended nothing. The tombstone stands at least that long
//     after [End.At], and on until a Sweep forgets it.
//
// Each of Update, Touch, Extend, SetOwner and Delete is one atomic step. A
// record that is missing, expired or ended is [ErrNotFound] to the first four.
// Where an operation could fail for several reasons, the order is: invalid or
// too large, exists, limit, not found, fenced, version conflict, and last the size of the
// record that an Update would make, which is judged by what is there. A failed
// operation changes nothing. Update, Touch, Extend and Delete may carry an epoch: if that is not
// zero and not the record's, they are [ErrFenced].
//
// A record over [MaxRecordBytes], as [Size] measures it, is [ErrTooLarge]; it
// is judged as it would be stored.
//
// # Apply
//
// Apply takes one operation or many and returns one result for each, in order.
// Operations on the same ref take effect in the order given; others in any
// order. There is no atomicity across operations and one that fails spoils no
// other. When Apply returns, every result is final: a nil error means that the
// write is as durable as [Guarantees.Durability] says and visible to every
// later read as [Guarantees.Staleness] says.
//
// A context that is done before anything was sent fails every operation with
// its error, and nothing is written. One that ends later does not undo what
// was sent: the operation returns its true result, or [ErrUnknownOutcome]
// wrapped with the context's error.
//
// An outage is [ErrUnavailable] if nothing was written, [ErrUnknownOutcome] if
// that is not known; [ErrBelowLevel], which is one of those, if it was written but too
// few nodes confirmed it. Neither is ever reported as [ErrNotFound]. An operation
// with an ID that created or updated a record leaves that ID in
// [Record.LastOp]; one that deleted it, in [End.Op].
//
// # Reads
//
// Get returns the record or [ErrNotFound]; never an expired record, never a
// previous secret after its deadline. [Stamp.Remaining] is set. For a ref
// that ended less than TombstoneTTL ago the error is a [*NotFoundError] with
// its End; for one that has expired and was not swept too.
//
// List yields records in the order of their refs, page by page: memory does
// not grow with their number. A record that matches from before the call until
// it ends appears exactly once; one that comes, goes or changes meanwhile at
// most once. An error is yielded last. A filter that the store cannot apply is
// [ErrUnsupported] and nothing is yielded.
//
// # Watch
//
// Watch reports changes from the moment it returns; see [Change] for what. A
// change that was acknowledged after Watch returned is delivered, or a
// [Gap] is. Changes of one record arrive in order. Touches are not reported.
// An expiry is reported when Sweep ends the record. While nothing happens a
// [Beat] comes at least once per [WatchOptions.Beat]; a watcher that hears
// nothing for three times as long must assume a gap. After a Gap, whatever was
// learned from the watch is void. A slow watcher blocks no writer: its changes
// are replaced by a Gap. The channel is closed when the context is done or the
// store is closed, and for nothing else.
//
// # Sweep
//
// Sweep ends at most n expired records, as Delete would, with [ReasonIdle] or
// [ReasonAbsolute], and returns their Ends. Every expired record is returned by
// exactly one Sweep, however many run at once. If more have expired it returns
// n Ends; callers call again. Each call also forgets tombstones that are due, at
// least n of them if there are so many: else they would pile up where records
// are deleted faster than swept. Stores run no timers of their own: what Sweep
// does not remove stays, unseen.
//
// # Lifetime
//
// All methods may be called by any number of goroutines. Close waits for
// operations in progress, ends watches and is idempotent; afterwards
// everything is [ErrClosed]. No method keeps or changes what it was given
// after it has returned, save that the bytes of JSON values and of Sealed are
// shared: nobody may change them.
type Store interface {
	Get(ctx context.Context, key Key) (Record, error)
	Apply(ctx context.Context, ops ...Op) []Result
	List(ctx context.Context, q Query) iter.Seq2[Record, error]
	Watch(ctx context.Context, opts WatchOptions) (<-chan Change, error)
	Sweep(ctx context.Context, opts SweepOptions) ([]End, error)
	// Guarantees says what may be relied on. It does not change while the
	// store is open.
	Guarantees() Guarantees
	Close() error
}

// Durability says what survives what.
type Durability int

const (
	// Volatile: records die with the process.
	Volatile Durability = iota
	// Buffered: records survive the process, but what was acknowledged in
	// the last moments may be lost with the machine.
	Buffered
	// Synced: what was acknowledged survives a loss of power.
	Synced
	// Replicated: what was acknowledged survives the loss of a machine.
	Replicated
)

func (d Durability) String() string {
	switch d {
	case Volatile:
		return "volatile"
	case Buffered:
		return "buffered"
	case Synced:
		return "synced"
	case Replicated:
		return "replicated"
	}
	return "unknown"
}

// Guarantees is what a store promises beyond the contract. The suite checks
// what is declared.
type Guarantees struct {
	// Staleness bounds how old the state that a read returns may be. Zero:
	// operations on one ref are linearizable.
	Staleness time.Duration
	// ClockError bounds how far the store's clock may be from true elapsed
	// time, in either direction, while a deadline is pending.
	ClockError time.Duration
	Durability Durability
	// Shared: other processes can open the same records at the same time.
	Shared bool
	// Replication is the level at which writes are acknowledged. Empty: the
	// store's engine keeps no copies on other nodes.
	Replication Replication
	// EventOverhead is what is added to each event before it is kept, by a
	// wrapper that seals, say. An event may have that much less than
	// [MaxEventBytes], and [EventBounds.Bytes] counts it.
	EventOverhead int
	// ExactTotal: [Limit.Total] is never exceeded. Otherwise it may be,
	// briefly, by what is created at the same moment.
	ExactTotal bool
}

// A Query selects records for List. The zero value of a field does not filter.
type Query struct {
	Namespace string // required
	Kind      string // empty: every kind but the system's own (a leading "_")
	User      *string
	Owner     string
	Address   AddressFilter

	CreatedFrom    time.Time // Created is not before
	CreatedBefore  time.Time
	AccessedFrom   time.Time // LastAccessed is not before
	AccessedBefore time.Time

	// Expired lists records that have expired and were not swept yet, and
	// only those.
	Expired bool
	// After starts behind this ref, to go on where an earlier List stopped.
	After Ref
	// Max stops after so many records; zero: all.
	Max int
}

// WatchOptions selects what Watch reports.
type WatchOptions struct {
	Namespace string        // required
	Beat      time.Duration // at most so long without a sign of life; zero: one second
}

// ChangeType says what a Change reports.
type ChangeType int

const (
	// Beat: nothing happened; the watch is alive.
	Beat ChangeType = iota + 1
	// Gap: changes may have been missed. It has no key.
	Gap
	// Created: by Create or Import.
	Created
	// Updated: by Update, Extend or SetOwner.
	Updated
	// Deleted: by Delete, or evicted by Create.
	Deleted
	// Expired: ended by Sweep.
	Expired
)

func (t ChangeType) String() string {
	switch t {
	case Beat:
		return "beat"
	case Gap:
		return "gap"
	case Created:
		return "created"
	case Updated:
		return "updated"
	case Deleted:
		return "deleted"
	case Expired:
		return "expired"
	}
	return "unknown"
}

// A Change is one report of a watch.
type Change struct {
	Type     ChangeType
	Key      Key
	Kind     string
	Version  uint64
	Revision uint64
	Reason   Reason // of Deleted and Expired
	By       string // of Deleted
}

// SweepOptions says what to sweep.
type SweepOptions struct {
	Namespace string // required
	Kind      string // empty: all, the system's own too
	Max       int    // zero: 1000
}

// Limit returns Max, or what zero stands for.
func (o SweepOptions) Limit() int {
	if o.Max <= 0 {
		return 1000
	}
	return o.Max
}

// Interval returns Beat, or what zero stands for.
func (o WatchOptions) Interval() time.Duration {
	if o.Beat <= 0 {
		return time.Second
	}
	return o.Beat
}

// Ping reports whether the store answers reads: it asks for a record that does
// not exist. The error is that of Get.
func Ping(ctx context.Context, s Store, namespace string) error {
	ref := Ref{b: [refSize]byte{1}}
	_, err := s.Get(ctx, Key{Namespace: namespace, Ref: ref})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
