-- KEYS: record, sequence. ARGV: floor, ref, channel, epoch, for, max, prefix
-- of the tag.
local created, accessed = struct.unpack('>I8I8', head, 27)
accessed = math.max(accessed, now)
absolute = math.min(now + tonumber(ARGV[5]), created + tonumber(ARGV[6]))
local stamps = string.sub(head, 3, 10) .. bump(string.sub(head, 11, 18)) .. string.sub(head, 19, 34) ..
  struct.pack('>I8I8I8', accessed, absolute, absolute)
redis.call('ZADD', ARGV[7] .. 'd:' .. kind, absolute, string.sub(ARGV[2], 2))
redis.call('SETRANGE', KEYS[1], '2', stamps)
note(4, ARGV[2], string.sub(stamps, 1, 8), string.sub(stamps, 9, 16), kind, '', '')
return 'k' .. stamp .. stamps
