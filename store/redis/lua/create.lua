-- KEYS: record, sequence, order, deadlines, kinds and, with a user, the user's
-- records.
-- ARGV: floor, ref, channel, kind, user, idle, lifetime, rest of the record,
-- per user, refuse, total, others, op and lengths, by, prefix of the tag, what stands
-- before and behind the routing byte in the names of the deadlines.
local kind, user, op, by = ARGV[4], ARGV[5], sub(ARGV[13], 1, 16), ARGV[14]
if call('EXISTS', KEYS[1]) == 1 then return 'x' .. stamp end
local member = sub(ARGV[2], 2)
local per, total = tonumber(ARGV[9]), tonumber(ARGV[11])

local expired, victims = {}, {}
if per > 0 and KEYS[6] and call('ZCARD', KEYS[6]) >= per then
  local live = {}
  for _, m in ipairs(call('ZRANGE', KEYS[6], 0, -1)) do
    local due = call('ZSCORE', KEYS[4], m)
    if due and tonumber(due) > now then live[#live + 1] = m else expired[#expired + 1] = m end
  end
  local over = #live - per + 1
  if over > 0 and ARGV[10] == '1' then return 'l' .. stamp .. 'u' end
  for i = 1, over do victims[i] = live[i] end
end

if total > 0 then
  local count = tonumber(ARGV[12])
  local after = '(' .. string.format('%.0f', now)
  if count < 0 then -- one server holds all tags
    count = 0
    for b = 0, 255 do
      count = count + call('ZCOUNT', ARGV[16] .. string.format('%02x', b) .. ARGV[17], after, '+inf')
    end
  else
    count = count + call('ZCOUNT', KEYS[4], after, '+inf')
  end
  if count - #victims >= total then return 'l' .. stamp .. 't' end
end

-- All is read before anything is written: a script that fails has written
-- nothing.
local heads, events = {}, {}
for i, m in ipairs(victims) do
  heads[i] = call('GETRANGE', ARGV[15] .. 'r:' .. m, 2, 65)
  if #heads[i] ~= 64 then return redis.error_reply('CORRUPT index without its record') end
  events[i] = call('EXISTS', ARGV[15] .. 'e:' .. m) == 1
end

if #victims > 0 then call('EXISTS', ARGV[15] .. 't') end

local absolute = now + tonumber(ARGV[7])
local idle = math.min(now + tonumber(ARGV[6]), absolute)
local numbers = pack('>I4I4I4I4', 0, 1, 0, 1)
local stamps = pack('>I4I4I8I8I8I8', 0, 0, now, now, idle, absolute)
call('SET', KEYS[1], 'R\1' .. numbers .. ARGV[13] .. stamps .. ARGV[8])
call('ZADD', KEYS[3], 0, member)
call('ZADD', KEYS[4], idle, member)
call('SADD', KEYS[5], kind)
if KEYS[6] then call('ZADD', KEYS[6], now, member) end
for _, m in ipairs(expired) do call('ZREM', KEYS[6], m) end
local result = 'k' .. stamp .. numbers .. stamps
for i, m in ipairs(victims) do
  local h = heads[i]
  local body = tomb(sub(h, 1, 8), sub(h, 49, 56), sub(h, 57, 64), stamp, op, kind, user, 'evicted', by)
  bury(ARGV[15] .. 'r:' .. m, ARGV[15] .. 't', m, body)
  call('ZREM', KEYS[3], m)
  call('ZREM', KEYS[4], m)
  call('ZREM', KEYS[6], m)
  if events[i] then call('UNLINK', ARGV[15] .. 'e:' .. m) end
  note(KEYS[2], ARGV[3], 5, sub(ARGV[2], 1, 1) .. m, sub(h, 1, 8) .. bump(sub(h, 9, 16)), kind, 'evicted', by)
  result = result .. ended(m, body)
end
note(KEYS[2], ARGV[3], 3, ARGV[2], numbers, kind, '', '')
return result
