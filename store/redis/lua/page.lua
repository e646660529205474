-- A page of records in order. KEYS: order. ARGV: floor, prefix of the names of
-- records, from, most records, most bytes.
local refs = call('ZRANGE', KEYS[1], ARGV[3], '+', 'BYLEX', 'LIMIT', 0, ARGV[4])
local out, bytes, last = { stamp, '', '' }, 0, 0
for i, m in ipairs(refs) do
  local r = call('GET', ARGV[2] .. m)
  if r then
    out[#out + 1] = m
    out[#out + 1] = r
    bytes = bytes + #r
  end
  last = i
  if bytes >= tonumber(ARGV[5]) then break end
end
if last > 0 then out[2] = refs[last] end
if last < #refs or #refs == tonumber(ARGV[4]) then out[3] = 'more' end
return out
