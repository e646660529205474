-- Events of a stream from an index on. KEYS: record, events. ARGV: floor, ref,
-- -, stream, from, behind (negative: the end), most bytes.
local st = call('HGET', KEYS[2], 's' .. ARGV[4])
if not st then return { 'k' .. stamp, 0, 0 } end
local first, behind = unpack('>I8I8', st)
local from = tonumber(ARGV[5])
if tonumber(ARGV[6]) >= 0 then behind = tonumber(ARGV[6]) end
if from < first then return { 't' .. stamp } end
local out, bytes = { 'k' .. stamp, first, behind }, 0
for i = from, behind - 1 do
  local e = call('HGET', KEYS[2], 'e' .. pack('>I8', i) .. ARGV[4])
  if not e then return { 't' .. stamp } end
  out[#out + 1] = e
  bytes = bytes + #e + 64
  if bytes >= tonumber(ARGV[7]) then break end
end
return out
