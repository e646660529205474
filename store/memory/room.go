package memory

import (
	"sync/atomic"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// What things take, beyond the bytes that callers gave: structs, map slots and
// places in the indexes, measured and rounded up. A record's overhead is more
// than all that its tombstone can take, so that ending one never needs room.
const (
	recordOverhead = 800
	tombOverhead   = 460
	eventOverhead  = 112
	streamOverhead = 160
)

// dataOverhead is what a map of n values takes: nothing is kept for none, one
// group holds eight, and beyond that half of the slots may be empty.
func dataOverhead(n int) int {
	switch {
	case n == 0:
		return 0
	case n <= 8:
		return 450
	}
	return 100 * n
}

// room counts what is kept against the bounds.
type room struct {
	maxRecords, maxBytes int64
	records, bytes       atomic.Int64
}

// reserve takes room, or returns [state.ErrFull] and takes none. Negative
// amounts always succeed.
func (r *room) reserve(records, bytes int64) error {
	if !add(&r.records, records, r.maxRecords) {
		return state.ErrFull
	}
	if !add(&r.bytes, bytes, r.maxBytes) {
		r.records.Add(-records)
		return state.ErrFull
	}
	return nil
}

func (r *room) release(records, bytes int64) {
	r.records.Add(-records)
	r.bytes.Add(-bytes)
}

// add raises n by delta if it then is at most limit. It never overshoots, so
// that of two callers for whom there is room neither is refused because of the
// other.
func add(n *atomic.Int64, delta, limit int64) bool {
	for {
		old := n.Load()
		if delta > 0 && old+delta > limit {
			return false
		}
		if n.CompareAndSwap(old, old+delta) {
			return true
		}
	}
}

func recordCost(r *state.Record) int64 {
	return int64(recordOverhead + state.Size(r) + len(r.Sealed) + dataOverhead(len(r.Data)))
}

func tombCost(end *state.End) int64 {
	return int64(tombOverhead + len(end.User) + len(end.By))
}
