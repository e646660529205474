package state

import "context"

// A Cache holds copies of records in front of a store. It may forget at any
// time. It never returns what has been invalidated, however Fill and
// Invalidate race: a Fill with a copy that was read before the record changed,
// and that arrives after the Invalidate, is refused by its Revision.
//
// Get returns a copy that the caller owns, as a Store does, or false. It does
// not look at deadlines: whoever reads a cached record that seems expired reads
// again from the store before refusing it. Remaining is as it was given, so
// that readers can tell from it how old the copy is.
//
// Fill offers a copy. It is refused if the cache knows of a newer revision, or
// of the record's end. A copy of the same revision takes the place of the one
// that is there: it was read later.
//
// Invalidate drops copies older than the revision and refuses them from then
// on. [Ended] as the revision drops every copy and refuses all.
//
// Clear drops everything, and refuses every Fill whose Record was read before:
// see Generation.
//
// Generation returns a number that Clear raises. A reader takes it before it
// asks the store and hands it to Fill, which refuses a copy of an earlier
// generation. What Invalidate learned may be forgotten only together with
// such a raise, or once no read from before can still be in flight.
//
// All methods are safe for concurrent use.
type Cache interface {
	Get(ctx context.Context, key Key) (Record, bool, error)
	Generation(ctx context.Context) (uint64, error)
	Fill(ctx context.Context, r Record, generation uint64) error
	Invalidate(ctx context.Context, key Key, revision uint64) error
	Clear(ctx context.Context) error
	Close() error
}

// Ended is the revision that no record reaches.
const Ended = ^uint64(0)
