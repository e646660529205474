package nats

import "time"

// WithClock returns the options with another clock, for what takes days.
func WithClock(o Options, now func() time.Time) Options {
	o.clock = now
	return o
}
