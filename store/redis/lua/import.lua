-- KEYS: as in create. ARGV: floor, ref, channel, kind, record, created,
-- expires, until when the previous secret counts (empty: there is none).
if tonumber(ARGV[7]) <= now then return 'n' .. stamp end
if call('EXISTS', KEYS[1]) == 1 then return 'x' .. stamp end
local member, record = sub(ARGV[2], 2), ARGV[5]
if ARGV[8] ~= '' and tonumber(ARGV[8]) <= now then
  local nkind, nuser, nowner = unpack('>BI2I2', record, 83)
  local at = 95 + nkind + nuser + nowner -- where the secrets begin
  record = sub(record, 1, at) .. string.rep('\0', 8) .. sub(record, at + 9, at + 40) ..
    string.rep('\0', 32) .. sub(record, at + 73)
end
call('SET', KEYS[1], record)
call('ZADD', KEYS[3], 0, member)
call('ZADD', KEYS[4], ARGV[7], member)
call('SADD', KEYS[5], ARGV[4])
if KEYS[6] then call('ZADD', KEYS[6], ARGV[6], member) end
note(KEYS[2], ARGV[3], 3, ARGV[2], sub(record, 3, 18), ARGV[4], '', '')
return 'k' .. stamp .. sub(record, 3, 18) .. sub(record, 43, 82)
