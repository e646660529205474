package cache

import "sync"

const (
	floorShards = 64
	floorBytes  = 64 // what one floor takes, about
	minFloors   = 64 // that a shard remembers at least
)

// A floor is what an Invalidate said: copies below the revision are old.
type floor struct {
	revision   uint64
	generation uint64 // when the floor was last raised
	blind      uint64 // of what was learned earlier than this, some was forgotten before the floor was laid
}

// A floorShard remembers the floors of some keys, by the keys' hashes. Two keys
// of one hash would share a floor, which may refuse a good copy but never
// admits an old one.
//
// It remembers a bounded number. To forget one safely it remembers the
// generation of the newest that it forgot: a copy read before that is refused
// unless the key's own floor says that it is new enough.
type floorShard struct {
	mu        sync.Mutex // guards all below, and is held while otter is changed
	floors    map[uint64]floor
	oldest    []oldFloor // ring of the floors in the order of their raising
	head      int
	forgotten uint64 // copies of an earlier generation are refused: a floor may have been forgotten
	cleared   uint64 // copies of an earlier generation are refused: there was a Clear
	_         [64]byte
}

type oldFloor struct{ hash, generation uint64 }

func (f *floorShard) init(capacity int) {
	f.floors = make(map[uint64]floor)
	f.oldest = make([]oldFloor, max(capacity, minFloors))
}

// admits reports whether a copy of the revision, read after the generation was
// taken, is new enough. f is locked.
func (f *floorShard) admits(hash, revision, generation uint64) bool {
	if generation < f.cleared {
		return false
	}
	if known, ok := f.floors[hash]; ok {
		return revision >= known.revision && generation >= known.blind
	}
	return generation >= f.forgotten
}

// raise notes an Invalidate. Each takes a place in the ring and pushes out the
// oldest; its floor is forgotten unless it was raised again since. f is locked.
func (f *floorShard) raise(hash, revision, generation uint64) {
	known, ok := f.floors[hash]
	if !ok {
		known.blind = f.forgotten
	}
	known.revision, known.generation = max(known.revision, revision), generation
	f.floors[hash] = known

	old := f.oldest[f.head]
	f.oldest[f.head] = oldFloor{hash, generation}
	f.head = (f.head + 1) % len(f.oldest)
	if pushed, ok := f.floors[old.hash]; ok && pushed.generation == old.generation {
		delete(f.floors, old.hash)
		f.forgotten = max(f.forgotten, old.generation)
	}
}

// clear notes a Clear. What was learned before is covered by its generation.
func (f *floorShard) clear(generation uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cleared = max(f.cleared, generation)
	clear(f.floors)
	clear(f.oldest)
}
