package encrypted

import "sync"

// A scratch is memory for what is needed while a message is sealed or opened:
// its plaintext and what it is bound to.
type scratch struct{ plain, bound []byte }

// scratches has memory that was used before. It is shared by all stores.
var scratches = sync.Pool{New: func() any { return new(scratch) }}

// keepScratch bounds what is kept for the next use.
const keepScratch = 64 << 10

// release gives the memory back, with nothing of the plaintext in it.
func (s *scratch) release() {
	clear(s.plain)
	if cap(s.plain) > keepScratch {
		return
	}
	scratches.Put(s)
}
