-- KEYS: record, sequence. ARGV: floor, ref, channel, epoch, version, op,
-- new hash, grace, meta given, meta, its size, data given, data, its size,
-- greatest size.
local nmetasize, ndatasize = struct.unpack('>I4I4', head, 156)
if ARGV[9] == '1' then nmetasize = tonumber(ARGV[11]) end
if ARGV[12] == '1' then ndatasize = tonumber(ARGV[14]) end
local size = nuser + nmetasize + ndatasize
if size > tonumber(ARGV[15]) then return 'z' .. stamp .. struct.pack('>I8', size) end
-- FENCE
if ARGV[5] ~= string.sub(head, 3, 10) then return 'v' .. stamp .. string.sub(head, 3, 10) end

local secret = string.sub(head, 59, 130) -- until, hash, previous
if ARGV[7] ~= '' then
  local grace = tonumber(ARGV[8])
  if grace > 0 then
    secret = struct.pack('>I8', now + grace) .. ARGV[7] .. string.sub(head, 67, 98)
  else
    secret = string.rep('\0', 8) .. ARGV[7] .. string.rep('\0', 32)
  end
end
local stamps = bump(string.sub(head, 3, 10)) .. bump(string.sub(head, 11, 18)) .. string.sub(head, 19, 58)
local fixed = stamps .. secret .. ARGV[6]
if ARGV[9] ~= '1' and ARGV[12] ~= '1' then
  redis.call('SETRANGE', KEYS[1], 2, fixed)
else
  local names = nkind + nuser + nowner
  local kept = names -- of what follows the fixed part
  if ARGV[9] ~= '1' then kept = names + nmeta end
  local front
  if 163 + kept <= #head then
    front = string.sub(head, 164, 163 + kept)
  else
    front = redis.call('GETRANGE', KEYS[1], 163, 162 + kept)
  end
  if ARGV[9] == '1' then
    front = front .. ARGV[10]
    local old = 163 + names + nmeta
    nmeta = #ARGV[10]
    if ARGV[12] ~= '1' then front = front .. redis.call('GETRANGE', KEYS[1], old, -1) end
  end
  if ARGV[12] == '1' then front = front .. ARGV[13] end
  redis.call('SET', KEYS[1], 'r\1' .. fixed .. struct.pack('>BI2I2I4I4I4', nkind, nuser, nowner, nmeta, nmetasize, ndatasize) .. front)
end
note(4, ARGV[2], string.sub(stamps, 1, 8), string.sub(stamps, 9, 16), kind, '', '')
return 'k' .. stamp .. stamps
