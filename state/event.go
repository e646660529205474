package state

import (
	"context"
	"iter"
	"time"
)

// Bounds of what an EventStore accepts.
const (
	// MaxEventBytes bounds one event.
	MaxEventBytes = 4 << 20
	// MaxStreamName bounds the name of a stream, in bytes.
	MaxStreamName = 128
)

// An EventStore keeps the events of the streams of a record, so that a client
// whose connection broke can have again what it missed. This comment is the
// contract; statetest.RunEvents checks it.
//
// A stream is named by the record's key and a name of at most [MaxStreamName]
// bytes, which may be empty. Its events are numbered from 0. The store keeps a
// suffix of each stream, the rest is trimmed.
//
// Append adds events to streams of one record, in one durable step. The index
// given must be the stream's next, else [ErrConflict] and nothing is added:
// two writers cannot both continue a stream. The record must exist
// ([ErrNotFound]), and with an epoch that is not zero it must be the record's
// ([ErrFenced]). To skip events that are not to be kept, append with Skip: the
// stream then starts anew at that index, and what was before it is trimmed.
//
// Read yields the events from the given index on, in order, as they are when
// it is called. If the index is before the first that is kept, it yields
// [ErrTrimmed] alone; an index at or behind the end yields nothing, and so
// does a stream that has none.
//
// Tail returns the first index kept and the next to be appended; both are 0
// for a stream that never was.
//
// Trim forgets, of all streams of the record, the oldest events until those
// left have at most the given number of bytes together, and all events older
// than the given age; the last index stays known. Zero means no such bound.
//
// Events end with their record: once it is deleted, evicted or swept, they are
// gone, and once it has expired they cannot be read. Errors are those of
// [Store].
type EventStore interface {
	Append(ctx context.Context, key Key, epoch uint64, appends ...EventAppend) error
	Read(ctx context.Context, key Key, stream string, from int64) iter.Seq2[[]byte, error]
	Tail(ctx context.Context, key Key, stream string) (first, next int64, err error)
	Trim(ctx context.Context, key Key, keep EventBounds) error
}

// An EventAppend adds events to one stream.
type EventAppend struct {
	Stream string
	Index  int64    // of the first of Events; must be the stream's next
	Skip   bool     // Index may be beyond the next; what is before it is trimmed
	Events [][]byte // each at most MaxEventBytes less Guarantees.EventOverhead; may be empty
}

// EventBounds says what Trim keeps.
type EventBounds struct {
	Bytes int64         // of all streams of the record, with Guarantees.EventOverhead for each event; zero: no bound
	Age   time.Duration // zero: no bound
}
