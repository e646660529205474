-- KEYS: record, sequence, order, deadlines, kinds and, with a user, the user's
-- records.
-- ARGV: floor, ref, channel, kind, user, idle, lifetime, rest of the record,
-- per user, refuse, total, others, op, by, prefix of the tag, what stands
-- before and behind the routing byte in the names of the deadlines.
local kind, user, op, by = ARGV[4], ARGV[5], ARGV[13], ARGV[14]
if redis.call('EXISTS', KEYS[1]) == 1 then return 'x' .. stamp end
local member = string.sub(ARGV[2], 2)
local per, total = tonumber(ARGV[9]), tonumber(ARGV[11])

local expired, victims = {}, {}
if per > 0 and KEYS[6] and redis.call('ZCARD', KEYS[6]) >= per then
  local live = {}
  for _, m in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
    local due = redis.call('ZSCORE', KEYS[4], m)
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
      count = count + redis.call('ZCOUNT', ARGV[16] .. string.format('%02x', b) .. ARGV[17], after, '+inf')
    end
  else
    count = count + redis.call('ZCOUNT', KEYS[4], after, '+inf')
  end
  if count - #victims >= total then return 'l' .. stamp .. 't' end
end

-- All is read before anything is written: a script that fails has written
-- nothing.
local heads, events = {}, {}
for i, m in ipairs(victims) do
  heads[i] = redis.call('GETRANGE', ARGV[15] .. 'r:' .. m, 2, 41)
  if #heads[i] ~= 40 then return redis.error_reply('CORRUPT index without its record') end
  events[i] = redis.call('EXISTS', ARGV[15] .. 'e:' .. m) == 1
end

if #victims > 0 then redis.call('EXISTS', ARGV[15] .. 't') end

local absolute = now + tonumber(ARGV[7])
local idle = math.min(now + tonumber(ARGV[6]), absolute)
local head = struct.pack('>I4I4I4I4I4I4I8I8I8I8', 0, 1, 0, 1, 0, 0, now, now, idle, absolute)
redis.call('SET', KEYS[1], 'r\1' .. head .. ARGV[8])
redis.call('ZADD', KEYS[3], 0, member)
redis.call('ZADD', KEYS[4], idle, member)
redis.call('SADD', KEYS[5], kind)
if KEYS[6] then redis.call('ZADD', KEYS[6], now, member) end
for _, m in ipairs(expired) do redis.call('ZREM', KEYS[6], m) end
local result = 'k' .. stamp .. head
for i, m in ipairs(victims) do
  local h = heads[i]
  local body = tomb(string.sub(h, 1, 8), string.sub(h, 25, 32), string.sub(h, 33, 40), stamp, op, kind, user, 'evicted', by)
  bury(ARGV[15] .. 'r:' .. m, ARGV[15] .. 't', m, body)
  redis.call('ZREM', KEYS[3], m)
  redis.call('ZREM', KEYS[4], m)
  redis.call('ZREM', KEYS[6], m)
  if events[i] then redis.call('UNLINK', ARGV[15] .. 'e:' .. m) end
  note(5, string.sub(ARGV[2], 1, 1) .. m, string.sub(h, 1, 8), bump(string.sub(h, 9, 16)), kind, 'evicted', by)
  result = result .. ended(m, body)
end
note(3, ARGV[2], string.sub(head, 1, 8), string.sub(head, 9, 16), kind, '', '')
return result
