-- Events stand in one hash: 's' and a stream: first and next index; 'e', an
-- index and a stream: the event; 'o' and a number: the events of all streams in
-- the order in which they came; 'b': the bytes of them; 'h' and 'g': the first
-- of those numbers and the next.
local key = KEYS[2]
local function number(field) return tonumber(call('HGET', key, field) or 0) end
local function order(n) return 'o' .. pack('>I8', n) end
local function stream(s)
  local st = call('HGET', key, 's' .. s)
  if not st then return 0, 0 end
  return unpack('>I8I8', st)
end
local bytes, oldest, newest
local function open() bytes, oldest, newest = number('b'), number('h'), number('g') end
local function close()
  call('HSET', key, 'b', bytes, 'h', oldest, 'g', newest)
end
-- dropOldest forgets the oldest event if test says so, and reports whether it
-- did. One that is gone already is forgotten in any case.
local function dropOldest(test)
  if oldest >= newest then return false end
  local field = order(oldest)
  local o = call('HGET', key, field)
  local index, at, size = unpack('>I8I8I4', o)
  local s = sub(o, 21)
  local first, behind = stream(s)
  if index >= first then
    if not test(at) then return false end
    call('HDEL', key, 'e' .. pack('>I8', index) .. s)
    call('HSET', key, 's' .. s, pack('>I8I8', index + 1, behind))
    bytes = bytes - size
  end
  call('HDEL', key, field)
  oldest = oldest + 1
  return true
end
