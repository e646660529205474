-- KEYS: record, sequence. ARGV: floor, channel, what is to change, data,
-- metadata. What is to change: the version, the one after it; operation, length
-- and size of the data; flags: metadata given, data given, secret given; size of
-- the metadata; ref; epoch given, epoch; and, with a secret, grace and hash.
local whigh, wlow, nhigh, nlow, work, metagiven, datagiven, rotates, metasize, ref, fenced =
  unpack('>I4I4I4I4c24BBBI4c17B', change)
local high, low, rhigh, rlow = unpack('>I4I4I4I4', head, 3)
local ndata, datasize = unpack('>I4I4', head, 35)
if metagiven == 0 then metasize = nmetasize end
local size = nuser + metasize + datasize
if datagiven ~= 0 then size = nuser + metasize + unpack('>I4', work, 21) end
local epoch = ''
if fenced ~= 0 then epoch = sub(change, 66, 73) end
-- FENCE
if whigh ~= high or wlow ~= low then return 'v' .. stamp .. sub(head, 3, 10) end
if size > MAX_RECORD then return 'z' .. stamp .. pack('>I8', size) end

rhigh, rlow = after(rhigh, rlow)
local numbers, stamps = pack('>I4I4I4I4', nhigh, nlow, rhigh, rlow), sub(head, 43, 82)
local at = 95 + nkind + nuser + nowner -- where the secrets begin
local secrets -- until when the previous one counts, hash, previous
if rotates ~= 0 then
  local grace, hash = unpack('>I8c32', change, 74)
  if grace > 0 then
    secrets = pack('>I8', now + grace) .. hash .. call('GETRANGE', record, at + 8, at + 39)
  else
    secrets = string.rep('\0', 8) .. hash .. string.rep('\0', 32)
  end
end
if metagiven == 0 and (datagiven == 0 or #data > 0 and 2 * #data + 1024 >= ndata) then
  if datagiven == 0 then work = sub(work, 1, 16) end
  call('SETRANGE', record, '2', numbers .. work)
  if secrets then call('SETRANGE', record, at, secrets) end
  -- Data are last. What is left behind shorter ones is not looked at, and
  -- goes with the next write that makes it too much.
  if datagiven ~= 0 then call('SETRANGE', record, format('%d', at + 72 + nmeta), data) end
else
  local from = at + 72
  if not secrets then secrets = call('GETRANGE', record, at, from - 1) end
  if metagiven == 0 then meta = call('GETRANGE', record, from, from + nmeta - 1) end
  if datagiven == 0 then
    data = call('GETRANGE', record, from + nmeta, from + nmeta + ndata - 1)
    work = sub(work, 1, 16) .. pack('>I4I4', ndata, datasize)
  end
  call('SET', record, 'R\1' .. numbers .. work .. stamps .. pack('>BI2I2I4I4', nkind, nuser, nowner, #meta, metasize) ..
    call('GETRANGE', record, 95, at - 1) .. secrets .. meta .. data)
end
note(sequence, channel, 4, ref, numbers, kind, '', '')
return 'k' .. stamp .. numbers .. stamps
