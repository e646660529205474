-- KEYS: record, sequence. ARGV: floor, ref, channel, epoch, version, op,
-- new hash, grace, meta given, meta, its size, data given, data, its size,
-- greatest size.
local nmetasize, ndata, ndatasize = struct.unpack('>I4I4I4', head, 156)
local metagiven, datagiven = ARGV[9] == '1', ARGV[12] == '1'
local metasize, datasize = nmetasize, ndatasize
if metagiven then metasize = tonumber(ARGV[11]) end
if datagiven then datasize = tonumber(ARGV[14]) end
-- FENCE
local version = string.sub(head, 3, 10)
if ARGV[5] ~= version then return 'v' .. stamp .. version end
local size = nuser + metasize + datasize
if size > tonumber(ARGV[15]) then return 'z' .. stamp .. struct.pack('>I8', size) end

local secret = string.sub(head, 59, 130) -- until, hash, previous
if ARGV[7] ~= '' then
  local grace = tonumber(ARGV[8])
  if grace > 0 then
    secret = struct.pack('>I8', now + grace) .. ARGV[7] .. string.sub(head, 67, 98)
  else
    secret = string.rep('\0', 8) .. ARGV[7] .. string.rep('\0', 32)
  end
end
version = bump(version)
local revision = bump(string.sub(head, 11, 18))
local stamps = version .. revision .. string.sub(head, 19, 58)
local fixed = stamps .. secret .. ARGV[6]
local at = 167 + nkind + nuser + nowner -- where the metadata begin
if not metagiven and not datagiven then
  redis.call('SETRANGE', KEYS[1], 2, fixed)
elseif not metagiven and #ARGV[13] > 0 and 2 * #ARGV[13] + 1024 >= ndata then
  -- Data are last. What is left behind shorter ones is not looked at, and
  -- goes with the next write that makes it too much.
  redis.call('SETRANGE', KEYS[1], 2, fixed .. string.sub(head, 147, 159) .. struct.pack('>I4I4', #ARGV[13], datasize))
  redis.call('SETRANGE', KEYS[1], at + nmeta, ARGV[13])
else
  local meta, data = ARGV[10], ARGV[13]
  if not metagiven then meta = redis.call('GETRANGE', KEYS[1], at, at + nmeta - 1) end
  if not datagiven then data = redis.call('GETRANGE', KEYS[1], at + nmeta, at + nmeta + ndata - 1) end
  redis.call('SET', KEYS[1], 'r\1' .. fixed ..
    struct.pack('>BI2I2I4I4I4I4', nkind, nuser, nowner, #meta, metasize, #data, datasize) ..
    redis.call('GETRANGE', KEYS[1], 167, at - 1) .. meta .. data)
end
note(4, ARGV[2], version, revision, kind, '', '')
return 'k' .. stamp .. stamps
