package batched

import (
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// What zero options stand for.
const (
	DefaultMaxOps   = 512
	DefaultMaxBytes = 4 << 20
	DefaultGroups   = 2

	DefaultWriteBehindInterval = time.Second
	DefaultMaxPending          = 65536
	DefaultMinLife             = time.Minute
	DefaultCloseTimeout        = 10 * time.Second
)

// Options of a Store. The zero value is useful.
type Options struct {
	// MaxOps bounds the operations of a group; what one caller asks for in
	// one call stays together even if it is more. Zero: DefaultMaxOps.
	MaxOps int
	// MaxBytes bounds the users, metadata and data of a group likewise. Zero:
	// DefaultMaxBytes.
	MaxBytes int
	// Groups is how many groups are on their way at most: two keep a store
	// busy that waits for its disk at the end of each, more are only smaller.
	// No two of them have a ref in common. Zero: DefaultGroups.
	Groups int
	// Interval is the least time from the beginning of one group to that of
	// the next, unless MaxOps operations are waiting: larger groups for later
	// answers. Whoever comes after a longer pause does not wait. Zero: none.
	Interval time.Duration
	// WriteBehind answers touches before they are stored. Nil: no operation
	// is.
	WriteBehind *WriteBehind
	// OnGroup hears of each call of the inner store's Apply. It must be quick
	// and may be called concurrently. Nil: nobody.
	OnGroup func(callers, operations int)
}

// WriteBehind says how touches are stored after they were answered. The zero
// value is useful.
//
// A touch is answered when its record has been read: live, not fenced, and with
// enough of its life left that the touch can wait. Else it is written through.
// What is left undone is written together every Interval, before any other
// operation on the same record, before a Sweep, and by Close. Get shows it at
// once in this process; List and other processes see it when it is stored.
//
// Guarantees says so: Staleness is longer by twice the Interval, and Durability
// is [state.Volatile], since a touch that was answered may be lost with the
// process. All other operations are as durable as the inner store makes them.
// In one point the contract of [state.Store] is not met: Revision does not rise
// with a touch until that is stored, and LastAccessed is then the time of
// storing, up to an Interval later than what was answered. The idle deadline is
// what was answered.
type WriteBehind struct {
	// Interval is how often touches are stored. While the store is
	// unavailable they wait longer. Zero: DefaultWriteBehindInterval.
	Interval time.Duration
	// MaxPending bounds the records whose touches wait. When there are so
	// many, further touches are written through: callers wait for the store.
	// Zero: DefaultMaxPending.
	MaxPending int
	// MinLife is what a record must have left to live for its touch to wait:
	// as long an outage may last before sessions in use end. Zero:
	// DefaultMinLife; at least three times Interval.
	MinLife time.Duration
	// CloseTimeout bounds how long Close tries to store what is left. Zero:
	// DefaultCloseTimeout.
	CloseTimeout time.Duration
	// OnLost hears of every touch that was answered and could not be stored.
	// It is called synchronously and must be quick. Nil: nobody; they are
	// counted in [Stats] all the same.
	OnLost func(Lost)
}

// A Lost is a touch that was answered and not stored.
type Lost struct {
	Op state.TouchOp
	// Err says why: [state.ErrNotFound] if the record has ended meanwhile,
	// [state.ErrFenced] if somebody else owns it now, what the store said
	// last if it was unavailable until Close gave up.
	Err error
}

// Stats counts since New.
type Stats struct {
	Groups     uint64 // calls of the inner store's Apply
	Operations uint64 // in them
	Deferred   uint64 // touches that were answered before they were stored
	Lost       uint64 // of those, the ones that could not be stored
	Pending    int    // touches that wait now
}

func (o Options) withDefaults() Options {
	if o.MaxOps <= 0 {
		o.MaxOps = DefaultMaxOps
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Groups <= 0 {
		o.Groups = DefaultGroups
	}
	if o.OnGroup == nil {
		o.OnGroup = func(int, int) {}
	}
	if o.WriteBehind != nil {
		wb := o.WriteBehind.withDefaults()
		o.WriteBehind = &wb
	}
	return o
}

func (w WriteBehind) withDefaults() WriteBehind {
	if w.Interval <= 0 {
		w.Interval = DefaultWriteBehindInterval
	}
	if w.MaxPending <= 0 {
		w.MaxPending = DefaultMaxPending
	}
	if w.MinLife <= 0 {
		w.MinLife = DefaultMinLife
	}
	w.MinLife = max(w.MinLife, 3*w.Interval)
	if w.CloseTimeout <= 0 {
		w.CloseTimeout = DefaultCloseTimeout
	}
	if w.OnLost == nil {
		w.OnLost = func(Lost) {}
	}
	return w
}
