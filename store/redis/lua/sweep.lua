-- KEYS: kinds, sequence, order, tombstones. ARGV: floor, routing byte, channel,
-- kind (empty: all), most, prefix of the tag, most tombstones.
local kinds = { ARGV[4] }
if ARGV[4] == '' then kinds = call('SMEMBERS', KEYS[1]) end
table.sort(kinds)
local left, found, card = tonumber(ARGV[5]), {}, {}
for _, kind in ipairs(kinds) do
  if left <= 0 then break end
  local due = ARGV[6] .. 'd:' .. kind
  card[due] = call('ZCARD', due)
  for _, m in ipairs(call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, left)) do
    local head = call('GETRANGE', ARGV[6] .. 'r:' .. m, 0, 767)
    local f = { kind = kind, due = due, member = m, head = head, record = byte(head) == 82 }
    if f.record then
      local nkind, nuser = unpack('>BI2', head, 83)
      f.user = sub(head, 96 + nkind, 95 + nkind + nuser)
      f.mine = ARGV[6] .. 'u:' .. kind .. ':' .. f.user
      if f.user ~= '' then call('ZSCORE', f.mine, m) end
      f.events = call('EXISTS', ARGV[6] .. 'e:' .. m) == 1
    end
    found[#found + 1] = f
    left = left - 1
  end
end

local due = {}
if tonumber(ARGV[7]) > 0 then
  due = call('ZRANGE', KEYS[4], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[7])
end
for _, m in ipairs(due) do call('EXISTS', ARGV[6] .. 'r:' .. m) end
for _, m in ipairs(due) do
  call('DEL', ARGV[6] .. 'r:' .. m)
  call('ZREM', KEYS[4], m)
end

local result = 'k' .. stamp
for _, f in ipairs(found) do
  local m, h = f.member, f.head
  call('ZREM', KEYS[3], m)
  call('ZREM', f.due, m)
  card[f.due] = card[f.due] - 1
  if card[f.due] == 0 then call('SREM', KEYS[1], f.kind) end
  if f.record then
    local idle, absolute = unpack('>I8I8', h, 67)
    local reason = idle < absolute and 'idle' or 'absolute'
    local body = tomb(sub(h, 3, 10), sub(h, 51, 58), sub(h, 59, 66),
      pack('>I8', math.min(idle, absolute)), string.rep('\0', 16), f.kind, f.user, reason, '')
    bury(ARGV[6] .. 'r:' .. m, KEYS[4], m, body)
    if f.user ~= '' then call('ZREM', f.mine, m) end
    if f.events then call('UNLINK', ARGV[6] .. 'e:' .. m) end
    note(KEYS[2], ARGV[3], 6, ARGV[2] .. m, sub(h, 3, 10) .. bump(sub(h, 11, 18)), f.kind, reason, '')
    result = result .. ended(m, body)
  end
end
return result
