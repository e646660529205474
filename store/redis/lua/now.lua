-- The time by this server, but never before what the caller has seen of it.
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if now < tonumber(ARGV[1]) then now = tonumber(ARGV[1]) end
local stamp = pack('>I8', now)
