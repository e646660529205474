-- Short names, which are quicker too: Lua looks a global up each time.
local call, sub, byte, char = redis.call, string.sub, string.byte, string.char
local pack, unpack, format = struct.pack, struct.unpack, string.format
