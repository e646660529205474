-- head is the record up to its kind, in any case; nothing goes on without a
-- live record. Strings are kept short throughout: Lua hashes every byte of
-- each that it makes.
local head = redis.call('GETRANGE', KEYS[1], '0', '230')
if head == '' then return 'n' .. stamp end
if string.byte(head) == 116 then return 'n' .. stamp .. redis.call('GET', KEYS[1]) end
local idle, absolute = struct.unpack('>I8I8', head, 43)
local nkind, nuser, nowner, nmeta = struct.unpack('>BI2I2I4', head, 147)
if idle <= now or absolute <= now then
  return 'n' .. stamp .. redis.call('GETRANGE', KEYS[1], 0, 166 + nkind + nuser)
end
local kind = string.sub(head, 168, 167 + nkind)
