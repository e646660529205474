-- What one update is called with.
local record, sequence, channel, change, data, meta = KEYS[1], KEYS[2], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
