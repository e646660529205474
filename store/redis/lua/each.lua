  end
end
-- KEYS: record and sequence of each. ARGV: floor, and of each what the update
-- takes behind it. One that fails spoils no other.
local replies, keys, args = {}, KEYS, ARGV
for i = 1, #keys / 2 do
  local k, a = 2 * i - 1, 4 * i - 3
  local ok, reply = pcall(step, keys[k], keys[k + 1], args[a + 1], args[a + 2], args[a + 3], args[a + 4])
  if not ok then reply = 'e' .. stamp .. (type(reply) == 'table' and reply.err or tostring(reply)) end
  replies[i] = reply
end
for channel, notices in pairs(told) do call('PUBLISH', channel, table.concat(notices)) end
return replies
