-- ARGV: name of the floor, revision, generation, the copy, how long it is
-- kept.
local asked = tonumber(ARGV[3])
if asked < cleared or asked < blind then return 0 end
for i = 2, 3 do
  local floor = redis.call('HGET', KEYS[i], ARGV[1])
  if floor and below(ARGV[2], floor) then return 0 end
end
local old = redis.call('GETRANGE', KEYS[4], '0', '15')
if #old == 16 and below(ARGV[2], string.sub(old, 9, 16)) then
  local h, l = struct.unpack('>I4I4', old)
  if h * 4294967296 + l >= cleared then return 0 end
end
redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5])
return 1
