-- KEYS: record, sequence. ARGV: floor, ref, channel, epoch, for, max, prefix
-- of the tag.
local created, accessed = unpack('>I8I8', head, 51)
accessed = math.max(accessed, now)
absolute = math.min(now + tonumber(ARGV[5]), created + tonumber(ARGV[6]))
local numbers = sub(head, 3, 10) .. bump(sub(head, 11, 18))
local stamps = sub(head, 43, 58) .. pack('>I8I8I8', accessed, absolute, absolute)
call('ZADD', ARGV[7] .. 'd:' .. kind, absolute, sub(ref, 2))
call('SETRANGE', record, '2', numbers .. sub(head, 19, 42) .. stamps)
note(sequence, channel, 4, ref, numbers, kind, '', '')
return 'k' .. stamp .. numbers .. stamps
