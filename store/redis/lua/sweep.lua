-- KEYS: kinds, sequence, order, tombstones. ARGV: floor, routing byte, channel,
-- kind (empty: all), most, prefix of the tag, most tombstones.
local kinds = { ARGV[4] }
if ARGV[4] == '' then kinds = redis.call('SMEMBERS', KEYS[1]) end
table.sort(kinds)
local left, found, card = tonumber(ARGV[5]), {}, {}
for _, kind in ipairs(kinds) do
  if left <= 0 then break end
  local due = ARGV[6] .. 'd:' .. kind
  card[due] = redis.call('ZCARD', due)
  for _, m in ipairs(redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, left)) do
    local head = redis.call('GETRANGE', ARGV[6] .. 'r:' .. m, 0, 767)
    local f = { kind = kind, due = due, member = m, head = head, record = string.byte(head) == 114 }
    if f.record then
      local nkind, nuser = struct.unpack('>BI2', head, 147)
      f.user = string.sub(head, 168 + nkind, 167 + nkind + nuser)
      f.mine = ARGV[6] .. 'u:' .. kind .. ':' .. f.user
      if f.user ~= '' then redis.call('ZSCORE', f.mine, m) end
      f.events = redis.call('EXISTS', ARGV[6] .. 'e:' .. m) == 1
    end
    found[#found + 1] = f
    left = left - 1
  end
end

local due = {}
if tonumber(ARGV[7]) > 0 then
  due = redis.call('ZRANGE', KEYS[4], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[7])
end
for _, m in ipairs(due) do redis.call('EXISTS', ARGV[6] .. 'r:' .. m) end
for _, m in ipairs(due) do
  redis.call('DEL', ARGV[6] .. 'r:' .. m)
  redis.call('ZREM', KEYS[4], m)
end

local result = 'k' .. stamp
for _, f in ipairs(found) do
  local m, h = f.member, f.head
  redis.call('ZREM', KEYS[3], m)
  redis.call('ZREM', f.due, m)
  card[f.due] = card[f.due] - 1
  if card[f.due] == 0 then redis.call('SREM', KEYS[1], f.kind) end
  if f.record then
    local idle, absolute = struct.unpack('>I8I8', h, 43)
    local reason = idle < absolute and 'idle' or 'absolute'
    local body = tomb(string.sub(h, 3, 10), string.sub(h, 27, 34), string.sub(h, 35, 42),
      struct.pack('>I8', math.min(idle, absolute)), string.rep('\0', 16), f.kind, f.user, reason, '')
    bury(ARGV[6] .. 'r:' .. m, KEYS[4], m, body)
    if f.user ~= '' then redis.call('ZREM', f.mine, m) end
    if f.events then redis.call('UNLINK', ARGV[6] .. 'e:' .. m) end
    note(6, ARGV[2] .. m, string.sub(h, 3, 10), bump(string.sub(h, 11, 18)), f.kind, reason, '')
    result = result .. ended(m, body)
  end
end
return result
