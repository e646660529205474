-- KEYS: record, events. ARGV: floor, ref, -, epoch, number of appends, then of
-- each: stream, index, skip, number of events, events.
local nexts, at = {}, 6
for _ = 1, tonumber(ARGV[5]) do
  local s, index, skip, n = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
  local want = nexts[s]
  if not want then
    local _, behind = stream(s)
    want = behind
  end
  if index < want or index > want and skip ~= '1' then
    return 'v' .. stamp .. pack('>I8I8', index, want)
  end
  nexts[s] = index + n
  at = at + 4 + n
end
open()
at = 6
for _ = 1, tonumber(ARGV[5]) do
  local s, index, skip, n = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
  local first, behind = stream(s)
  if skip == '1' then
    for i = first, behind - 1 do
      local field = 'e' .. pack('>I8', i) .. s
      bytes = bytes - call('HSTRLEN', key, field)
      call('HDEL', key, field)
    end
    first, behind = index, index
  end
  for i = 1, n do
    local e = ARGV[at + 3 + i]
    call('HSET', key, 'e' .. pack('>I8', behind) .. s, e, order(newest), pack('>I8I8I4', behind, now, #e) .. s)
    bytes = bytes + #e
    newest = newest + 1
    behind = behind + 1
  end
  call('HSET', key, 's' .. s, pack('>I8I8', first, behind))
  at = at + 4 + n
end
while dropOldest(function() return false end) do end
close()
return 'k' .. stamp
