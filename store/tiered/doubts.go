package tiered

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// maxDoubts bounds the records that are in doubt one by one. Beyond it, all
// are.
const maxDoubts = 4096

// doubts remembers since when copies of a record cannot be trusted, though no
// revision says so: a write has an unknown outcome, or a cache could not be
// told of one. A doubt is over when every copy from before it is too old
// anyway.
type doubts struct {
	lasts int64        // how long a doubt lasts
	all   atomic.Int64 // copies read before this time are in doubt
	count atomic.Int64 // of since, so that Get need not lock

	mu    sync.RWMutex // guards since
	since map[state.Key]int64
}

func (d *doubts) start(lasts int64) {
	d.lasts = lasts
	d.all.Store(math.MinInt64 / 2)
	d.since = make(map[state.Key]int64)
}

// raise doubts every copy that was read before now.
func (d *doubts) raise(key state.Key, now instant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since[key] = now.at
	if len(d.since) > maxDoubts {
		d.forget(now)
	}
	if len(d.since) > maxDoubts {
		d.all.Store(now.at)
		clear(d.since)
	}
	d.count.Store(int64(len(d.since)))
}

// concern reports whether a copy of that age was read before a doubt.
func (d *doubts) concern(namespace string, ref state.Ref, age int64, now instant) bool {
	if age >= now.at-d.all.Load() {
		return true
	}
	if d.count.Load() == 0 {
		return false
	}
	d.mu.RLock()
	since, ok := d.since[state.Key{Namespace: namespace, Ref: ref}]
	d.mu.RUnlock()
	return ok && age >= now.at-since
}

// prune forgets doubts that are over.
func (d *doubts) prune(now instant) {
	if d.count.Load() == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(now)
	d.count.Store(int64(len(d.since)))
}

// forget does what prune does. d.mu is held.
func (d *doubts) forget(now instant) {
	for key, since := range d.since {
		if now.at-since > d.lasts {
			delete(d.since, key)
		}
	}
}
