package redis

import "time"

// WithClock returns options for a store that takes its time from clock instead
// of the servers, so that tests need not wait for hours. All else is as it is:
// the scripts run in a real server.
func WithClock(o Options, clock func() time.Time) Options {
	o.clock = clock
	o.clockPart = `
local now = tonumber(ARGV[1])
local stamp = struct.pack('>I8', now)
`
	return o
}

// WithFloors returns options for a cache that remembers so few of the
// invalidated.
func WithFloors(o CacheOptions, n int) CacheOptions {
	o.floors = n
	return o
}
