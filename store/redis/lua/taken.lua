-- A record, live or expired, or a tombstone that counts.
local function taken(key)
  local there = redis.call('GETRANGE', key, 0, 41)
  if there == '' then return false end
  return string.byte(there) == 114 or struct.unpack('>I8', there, 35) > now
end
