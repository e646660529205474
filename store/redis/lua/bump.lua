-- Adds one to a number of 8 bytes, which Lua's own numbers cannot hold.
local function bump(s)
  local hi, lo = struct.unpack('>I4I4', s)
  lo = lo + 1
  if lo == 4294967296 then hi, lo = (hi + 1) % 4294967296, 0 end
  return struct.pack('>I4I4', hi, lo)
end
