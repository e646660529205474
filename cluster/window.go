package cluster

import "sync"

// windowBits is how far a header may be behind the latest of its sender.
const windowBits = 1 << 16

// A window remembers which of a sender's numbers were seen: each one up to the
// highest less windowBits. What is older counts as seen, so it never needs more
// memory.
type window struct {
	mu   sync.Mutex // guards all below
	next uint64     // above the highest seen
	seen [windowBits / 64]uint64
}

// admit reports whether the number was not seen before, and notes that it is.
func (w *window) admit(number uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if number >= w.next {
		w.advance(number)
	} else if w.next-number > windowBits {
		return false
	}
	word, bit := &w.seen[number/64%uint64(len(w.seen))], uint64(1)<<(number%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// advance moves the window on, so that number is the highest. The numbers that
// come into it were not seen.
func (w *window) advance(number uint64) {
	if number-w.next >= windowBits {
		clear(w.seen[:])
	} else {
		for i := w.next; i <= number; i++ {
			w.seen[i/64%uint64(len(w.seen))] &^= 1 << (i % 64)
		}
	}
	w.next = number + 1
}
