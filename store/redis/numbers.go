package redis

import "time"

// late is after how long a change that the server has numbered counts as lost.
const late = 500 * time.Millisecond

// numbers knows which changes have been heard. Each tag numbers its changes
// from 1, without holes.
type numbers struct {
	begun   bool
	heard   [256]uint64 // the last number heard
	asked   [256]uint64 // the last number that the server knew at askedAt
	askedAt time.Time
	fresh   [256]bool // something was heard since begin or the last gap
}

// What a number that is heard means.
const (
	heardOld  = iota // from before the watch began
	heardNext        // the one after the last
	heardGap         // any other
)

// begin takes what the server knew after the subscription began. What was heard
// since then may be later.
func (n *numbers) begin(known [256]uint64, now time.Time) {
	n.begun = true
	n.asked, n.askedAt = known, now
	for routing, k := range known {
		n.heard[routing] = max(n.heard[routing], k)
	}
}

// hear takes a number.
func (n *numbers) hear(routing byte, number uint64) int {
	last := n.heard[routing]
	if !n.begun {
		n.heard[routing] = max(last, number)
		return heardOld
	}
	if number <= last && !n.fresh[routing] {
		return heardOld // was on its way when the server was asked
	}
	n.heard[routing], n.fresh[routing] = number, true
	if number == last+1 {
		return heardNext
	}
	return heardGap
}

// compare takes what the server knew when it was asked after before had been
// heard. It returns false if something was missed: a number that the server
// knew a while ago and that has not come since, or a server that knows less
// than was heard, since it lost some in a failover.
func (n *numbers) compare(before, known [256]uint64, now time.Time) bool {
	complete := true
	overdue := now.Sub(n.askedAt) >= late
	for routing, k := range known {
		if k < before[routing] || overdue && n.heard[routing] < n.asked[routing] {
			complete = false
			n.heard[routing] = k
			n.fresh[routing] = false
		}
	}
	if overdue {
		n.asked, n.askedAt = known, now
	}
	return complete
}
