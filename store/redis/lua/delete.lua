-- KEYS: record, sequence, order, kinds, events, tombstones. ARGV: floor, ref, channel,
-- epoch, op, reason, by, prefix of the tag.
local head = call('GETRANGE', record, 0, 767)
if head == '' then return 'k' .. stamp end
if byte(head) == 116 then
  -- Written again as it is, so that a WAIT behind a repeated Delete waits for
  -- the first one too.
  call('SETRANGE', record, 0, 't')
  return 'k' .. stamp
end
if byte(head) ~= 82 then return redis.error_reply('CORRUPT record') end
local idle, absolute, nkind, nuser, nowner = unpack('>I8I8BI2I2', head, 67)
if idle <= now or absolute <= now then return 'k' .. stamp end
-- FENCE
local member = sub(ref, 2)
local kind, user = sub(head, 96, 95 + nkind), sub(head, 96 + nkind, 95 + nkind + nuser)
local due, mine = ARGV[8] .. 'd:' .. kind, ARGV[8] .. 'u:' .. kind .. ':' .. user
-- Read before anything is written, so that a script that cannot reach them
-- has written nothing.
local last = call('ZCARD', due) == 1
if user ~= '' then call('ZSCORE', mine, member) end

local body = tomb(sub(head, 3, 10), sub(head, 51, 58), sub(head, 59, 66), stamp, ARGV[5], kind, user, ARGV[6], ARGV[7])
bury(record, KEYS[6], member, body)
call('ZREM', KEYS[3], member)
call('ZREM', due, member)
if last then call('SREM', KEYS[4], kind) end
if user ~= '' then call('ZREM', mine, member) end
call('UNLINK', KEYS[5])
note(sequence, channel, 5, ref, sub(head, 3, 10) .. bump(sub(head, 11, 18)), kind, ARGV[6], ARGV[7])
return 'k' .. stamp .. ended(member, body)
