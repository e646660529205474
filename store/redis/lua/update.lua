-- KEYS: record, sequence. ARGV: floor, ref, channel, epoch, what is to change,
-- data, metadata. What is to change: the version, the one after it, the
-- operation; flags: metadata given, data given, secret given; sizes of metadata
-- and data; and, with a secret, grace and hash.
local change = ARGV[5]
local nmetasize, ndata, ndatasize = struct.unpack('>I4I4I4', head, 156)
local metagiven, datagiven, rotates, metasize, datasize = struct.unpack('>BBBI4I4', change, 33)
if metagiven == 0 then metasize = nmetasize end
if datagiven == 0 then datasize = ndatasize end
-- FENCE
local version = string.sub(head, 3, 10)
if string.sub(change, 1, 8) ~= version then return 'v' .. stamp .. version end
local size = nuser + metasize + datasize
if size > MAX_RECORD then return 'z' .. stamp .. struct.pack('>I8', size) end

version = string.sub(change, 9, 16)
local revision = bump(string.sub(head, 11, 18))
local stamps = version .. revision .. string.sub(head, 19, 58)
local fixed -- stamps; until, hash, previous; operation
if rotates == 0 then
  fixed = stamps .. string.sub(head, 59, 130) .. string.sub(change, 17, 32)
else
  local grace, hash = struct.unpack('>I8', change, 44), string.sub(change, 52, 83)
  if grace > 0 then
    fixed = stamps .. struct.pack('>I8', now + grace) .. hash .. string.sub(head, 67, 98) .. string.sub(change, 17, 32)
  else
    fixed = stamps .. string.rep('\0', 8) .. hash .. string.rep('\0', 32) .. string.sub(change, 17, 32)
  end
end
local at = 167 + nkind + nuser + nowner -- where the metadata begin
local data = ARGV[6]
if metagiven == 0 and datagiven == 0 then
  redis.call('SETRANGE', KEYS[1], '2', fixed)
elseif metagiven == 0 and #data > 0 and 2 * #data + 1024 >= ndata then
  -- Data are last. What is left behind shorter ones is not looked at, and
  -- goes with the next write that makes it too much.
  redis.call('SETRANGE', KEYS[1], '2', fixed .. string.sub(head, 147, 159) .. struct.pack('>I4I4', #data, datasize))
  redis.call('SETRANGE', KEYS[1], at + nmeta, data)
else
  local meta = ARGV[7]
  if metagiven == 0 then meta = redis.call('GETRANGE', KEYS[1], at, at + nmeta - 1) end
  if datagiven == 0 then data = redis.call('GETRANGE', KEYS[1], at + nmeta, at + nmeta + ndata - 1) end
  redis.call('SET', KEYS[1], 'r\1' .. fixed ..
    struct.pack('>BI2I2I4I4I4I4', nkind, nuser, nowner, #meta, metasize, #data, datasize) ..
    redis.call('GETRANGE', KEYS[1], 167, at - 1) .. meta .. data)
end
note(4, ARGV[2], version, revision, kind, '', '')
return 'k' .. stamp .. stamps
