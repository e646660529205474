package nats

import (
	"fmt"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// WithClock returns the options with another clock, for what takes days.
func WithClock(o Options, now func() time.Time) Options {
	o.clock = now
	return o
}

// Republished is a message as a stream publishes it again.
func Republished(name string, stream int, seq uint64) *natsgo.Msg {
	m := natsgo.NewMsg(fmt.Sprintf("%s-changes.%s-%d.x", name, name, stream))
	m.Header.Set("Nats-Stream", fmt.Sprintf("%s-%d", name, stream))
	m.Header.Set("Nats-Subject", fmt.Sprintf("%s-%d.x", name, stream))
	m.Header.Set("Nats-Sequence", fmt.Sprint(seq))
	return m
}

// LeaseTime is how long a lease holds.
const LeaseTime = leaseTime
