package cluster

import (
	"errors"
	"sync/atomic"
)

// Stats counts what a Node has done, for metrics.
type Stats struct {
	Forwarded   uint64 // requests forwarded to members
	Undelivered uint64 // of those, ErrUndelivered
	Lost        uint64 // of those, ErrLost
	Accepted    uint64 // requests that members forwarded to this node
	Refused     uint64 // requests with a header that did not count
	Missed      uint64 // heartbeats that were not acknowledged
	Reappeared  uint64 // times that this node's record was gone
	Published   uint64 // messages given to Publish
	Dropped     uint64 // messages that a member did not get: one count for each member
	Received    uint64 // messages of members
}

type counters struct {
	forwarded, undelivered, lost, accepted, refused, missed, reappeared, published, dropped, received atomic.Uint64
}

// Stats returns what the node has done so far.
func (n *Node) Stats() Stats {
	c := &n.stats
	return Stats{
		Forwarded: c.forwarded.Load(), Undelivered: c.undelivered.Load(), Lost: c.lost.Load(),
		Accepted: c.accepted.Load(), Refused: c.refused.Load(), Missed: c.missed.Load(),
		Reappeared: c.reappeared.Load(), Published: c.published.Load(), Dropped: c.dropped.Load(),
		Received: c.received.Load(),
	}
}

// count notes how a forwarded request ended.
func (c *counters) count(err error) {
	switch {
	case errors.Is(err, ErrUndelivered):
		c.undelivered.Add(1)
	case errors.Is(err, ErrLost):
		c.lost.Add(1)
	}
}
