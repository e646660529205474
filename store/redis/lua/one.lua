-- What scripts of one record are called with.
local record, sequence, ref, channel, epoch = KEYS[1], KEYS[2], ARGV[2], ARGV[3], ARGV[4]
