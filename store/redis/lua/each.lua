  end
end
-- KEYS: record and sequence of each. ARGV: floor, and of each what the update
-- takes behind it. One that fails spoils no other.
local replies = {}
for i = 1, #KEYS / 2 do
  local k, a = 2 * i - 1, 6 * i - 5
  local ok, reply = pcall(step, { KEYS[k], KEYS[k + 1] },
    { ARGV[1], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6] })
  if not ok then reply = 'e' .. stamp .. (type(reply) == 'table' and reply.err or tostring(reply)) end
  replies[i] = reply
end
for channel, notices in pairs(told) do redis.call('PUBLISH', channel, table.concat(notices)) end
return replies
