package redis

import "time"

// WithClock returns options for a store that takes its time from clock instead
// of the servers, so that tests need not wait for hours. All else is as it is:
// the scripts run in a real server. Tombstones are kept for longer there, and
// have to be forgotten by what is written in them.
func WithClock(o Options, clock func() time.Time) Options {
	o.clock = clock
	o.clockPart = `
local now = tonumber(ARGV[1])
local stamp = struct.pack('>I8', now)
local forget = redis.call('TIME')[1] * 1000 + 864000000
`
	return o
}
