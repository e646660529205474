-- How many records of a tag are to be swept, and how many tombstones. KEYS:
-- kinds, tombstones. ARGV: floor, kind (empty: all), prefix of the tag.
local kinds = { ARGV[2] }
if ARGV[2] == '' then kinds = call('SMEMBERS', KEYS[1]) end
local n = 0
for _, kind in ipairs(kinds) do
  n = n + call('ZCOUNT', ARGV[3] .. 'd:' .. kind, '-inf', now)
end
return { n, call('ZCOUNT', KEYS[2], '-inf', now) }
