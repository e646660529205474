-- KEYS: record. ARGV: floor, ref, -, epoch, idle, prefix of the tag.
local accessed = math.max(struct.unpack('>I8', head, 35), now)
local until_ = math.max(idle, math.min(now + tonumber(ARGV[5]), absolute))
local stamps = string.sub(head, 3, 10) .. bump(string.sub(head, 11, 18)) .. string.sub(head, 19, 34) ..
  struct.pack('>I8I8I8', accessed, until_, absolute)
-- The index first: if it cannot be reached, nothing is written.
redis.call('ZADD', ARGV[6] .. 'd:' .. kind, math.min(until_, absolute), string.sub(ARGV[2], 2))
redis.call('SETRANGE', KEYS[1], '2', stamps)
return 'k' .. stamp .. stamps
