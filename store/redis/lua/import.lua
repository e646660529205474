-- KEYS: as in create. ARGV: floor, ref, channel, kind, record, created,
-- expires, until when the previous secret counts (empty: there is none).
if tonumber(ARGV[7]) <= now then return 'n' .. stamp end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'x' .. stamp end
local member, record = string.sub(ARGV[2], 2), ARGV[5]
if ARGV[8] ~= '' and tonumber(ARGV[8]) <= now then
  record = string.sub(record, 1, 58) .. string.rep('\0', 8) .. string.sub(record, 67, 98) ..
    string.rep('\0', 32) .. string.sub(record, 131)
end
redis.call('SET', KEYS[1], record)
redis.call('ZADD', KEYS[3], 0, member)
redis.call('ZADD', KEYS[4], ARGV[7], member)
redis.call('SADD', KEYS[5], ARGV[4])
if KEYS[6] then redis.call('ZADD', KEYS[6], ARGV[6], member) end
note(3, ARGV[2], string.sub(record, 3, 10), string.sub(record, 11, 18), ARGV[4], '', '')
return 'k' .. stamp .. string.sub(record, 3, 58)
