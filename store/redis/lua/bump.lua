-- Adds one to a number of 8 bytes, which Lua's own numbers cannot hold: given
-- in two halves,
local function after(high, low)
  if low < 4294967295 then return high, low + 1 end
  return (high + 1) % 4294967296, 0
end
-- or as it stands in a record.
local function bump(s) return pack('>I4I4', after(unpack('>I4I4', s))) end
