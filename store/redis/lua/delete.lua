-- KEYS: record, sequence, order, kinds, events, tombstones. ARGV: floor, ref, channel,
-- epoch, op, reason, by, prefix of the tag.
local head = redis.call('GETRANGE', KEYS[1], 0, 767)
if head == '' then return 'k' .. stamp end
if string.byte(head) == 116 then
  -- Written again as it is, so that a WAIT behind a repeated Delete waits for
  -- the first one too.
  redis.call('SETRANGE', KEYS[1], 0, 't')
  return 'k' .. stamp
end
local idle, absolute = struct.unpack('>I8I8', head, 43)
local nkind, nuser, nowner = struct.unpack('>BI2I2', head, 147)
if idle <= now or absolute <= now then return 'k' .. stamp end
-- FENCE
local member = string.sub(ARGV[2], 2)
local kind, user = string.sub(head, 168, 167 + nkind), string.sub(head, 168 + nkind, 167 + nkind + nuser)
local due, mine = ARGV[8] .. 'd:' .. kind, ARGV[8] .. 'u:' .. kind .. ':' .. user
-- Read before anything is written, so that a script that cannot reach them
-- has written nothing.
local last = redis.call('ZCARD', due) == 1
if user ~= '' then redis.call('ZSCORE', mine, member) end

local body = tomb(string.sub(head, 3, 10), string.sub(head, 27, 34), string.sub(head, 35, 42), stamp, ARGV[5], kind, user, ARGV[6], ARGV[7])
bury(KEYS[1], KEYS[6], member, body)
redis.call('ZREM', KEYS[3], member)
redis.call('ZREM', due, member)
if last then redis.call('SREM', KEYS[4], kind) end
if user ~= '' then redis.call('ZREM', mine, member) end
redis.call('UNLINK', KEYS[5])
note(5, ARGV[2], string.sub(head, 3, 10), bump(string.sub(head, 11, 18)), kind, ARGV[6], ARGV[7])
return 'k' .. stamp .. ended(member, body)
