-- head is the record up to its kind, unless that is long; nothing goes on
-- without a live record. Strings are kept few and short throughout: Lua hashes
-- every byte of each that it makes.
local head = call('GETRANGE', record, '0', '118')
if head == '' then return 'n' .. stamp end
local form = byte(head)
if form == 116 then return 'n' .. stamp .. call('GET', record) end
if form ~= 82 then return redis.error_reply('CORRUPT record') end
local idle, absolute, nkind, nuser, nowner, nmeta, nmetasize = unpack('>I8I8BI2I2I4I4', head, 67)
if idle <= now or absolute <= now then
  return 'n' .. stamp .. call('GETRANGE', record, 0, 94 + nkind + nuser)
end
local kind = sub(head, 96, 95 + nkind)
if #kind < nkind then kind = call('GETRANGE', record, 95, 94 + nkind) end
