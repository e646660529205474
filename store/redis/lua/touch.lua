-- KEYS: record. ARGV: floor, ref, -, epoch, idle, prefix of the tag.
local accessed = math.max(unpack('>I8', head, 59), now)
local until_ = math.max(idle, math.min(now + tonumber(ARGV[5]), absolute))
local numbers = sub(head, 3, 10) .. bump(sub(head, 11, 18))
local stamps = sub(head, 43, 58) .. pack('>I8I8I8', accessed, until_, absolute)
-- The index first: if it cannot be reached, nothing is written.
call('ZADD', ARGV[6] .. 'd:' .. kind, math.min(until_, absolute), sub(ref, 2))
call('SETRANGE', record, '2', numbers .. sub(head, 19, 42) .. stamps)
return 'k' .. stamp .. numbers .. stamps
