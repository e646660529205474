-- KEYS: state, floors, older floors, and that of a copy. The state is text:
-- the generation; that since which copies count; that since which nobody read
-- what a forgotten floor was about; that in which the older floors were
-- closed; when the newer were begun, in seconds; whether there are newer and
-- older ones.
local t = redis.call('TIME')
local now, micros = tonumber(t[1]), t[1] * 1000000 + t[2]
local fresh = redis.call('GET', KEYS[1])
local generation, cleared, blind, closed, since, newer, older_
local function save()
  redis.call('SET', KEYS[1], string.format('%.0f %.0f %.0f %.0f %.0f %d %d',
    generation, cleared, blind, closed, since, newer, older_))
end
-- Everything from before is void.
local function void(least)
  generation = least
  cleared, blind, closed, since, newer, older_ = generation, generation, generation, now, 0, 0
  redis.call('DEL', KEYS[2], KEYS[3])
  save()
end
if fresh then
  local n = {}
  for part in string.gmatch(fresh, '%d+') do n[#n + 1] = tonumber(part) end
  generation, cleared, blind, closed, since, newer, older_ = unpack(n)
end
-- What the server forgot, in a restart or for want of room, is not known, so
-- that no copy may be trusted. Its time goes on and leads to a generation that
-- nobody had.
if not fresh then
  void(micros)
elseif redis.call('EXISTS', KEYS[2], KEYS[3]) ~= newer + older_ then
  void(math.max(generation + 1, micros))
end
-- Compares revisions, which Lua's numbers cannot hold.
local function below(a, b)
  local ah, al = struct.unpack('>I4I4', a)
  local bh, bl = struct.unpack('>I4I4', b)
  return ah < bh or ah == bh and al < bl
end
