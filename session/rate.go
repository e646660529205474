package session

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// A RateError is an [ErrLimit]: too many sessions were begun from one address.
type RateError struct {
	// After is when to try again.
	After time.Duration
}

func (e *RateError) Error() string {
	return fmt.Sprintf("too many new sessions from one address, try again after %v", e.After.Round(time.Millisecond))
}

// Is reports whether target is [ErrLimit].
func (e *RateError) Is(target error) bool { return target == ErrLimit }

const (
	// rateBurst is how many seconds' worth of sessions may be begun at once.
	rateBurst = 10
	// rateSets and rateWays are the size of the table of addresses.
	rateSets, rateWays = 4096, 8
	// networkBits is what of an IPv6 address counts: one customer has at least
	// that many addresses.
	networkBits = 64
)

// A rateLimit bounds how many sessions are begun from one address. Its memory
// does not grow, however many addresses there are: when there is no room for
// another, the one that has been quiet the longest is forgotten, which at worst
// lets it begin anew.
type rateLimit struct {
	interval time.Duration // between two sessions, on average
	seed     maphash.Seed
	start    time.Time

	mu   sync.Mutex // guards sets
	sets [rateSets][rateWays]bucket
}

// A bucket is the generic cell rate algorithm's: when the next session would
// be due if they came evenly. The zero bucket is free.
type bucket struct {
	key uint64
	due time.Duration // since the start
}

// newRateLimit returns a limit, or nil for none.
func newRateLimit(perSecond int, now time.Time) *rateLimit {
	if perSecond <= 0 {
		return nil
	}
	return &rateLimit{interval: time.Second / time.Duration(perSecond), seed: maphash.MakeSeed(), start: now}
}

// admit counts a session begun from the address, or says when to try again.
func (l *rateLimit) admit(from netip.Addr, now time.Time) error {
	if l == nil || !from.IsValid() {
		return nil
	}
	if from.Is6() {
		network, _ := from.Prefix(networkBits) // a valid address has one
		from = network.Addr()
	}
	key := maphash.Comparable(l.seed, from)
	at := now.Sub(l.start)
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(key)
	due := max(b.due, at)
	if wait := due - at - (rateBurst*time.Second - l.interval); wait > 0 {
		return &RateError{After: wait}
	}
	b.due = due + l.interval
	return nil
}

// bucket returns that of the key. The caller holds mu.
func (l *rateLimit) bucket(key uint64) *bucket {
	set := &l.sets[key%rateSets]
	quietest := &set[0]
	for i := range set {
		if set[i].key == key {
			return &set[i]
		}
		if set[i].due < quietest.due {
			quietest = &set[i]
		}
	}
	*quietest = bucket{key: key}
	return quietest
}
