-- KEYS: record, sequence. ARGV: floor, ref, channel, epoch, owner.
local names = redis.call('GETRANGE', KEYS[1], 167, 166 + nkind + nuser)
local rest = redis.call('GETRANGE', KEYS[1], 167 + nkind + nuser + nowner, -1)
local stamps = string.sub(head, 3, 10) .. bump(string.sub(head, 11, 18)) .. bump(string.sub(head, 19, 26)) .. string.sub(head, 27, 58)
redis.call('SET', KEYS[1], 'r\1' .. stamps .. string.sub(head, 59, 149) .. struct.pack('>I2', #ARGV[5]) ..
  string.sub(head, 152, 167) .. names .. ARGV[5] .. rest)
note(4, ARGV[2], string.sub(stamps, 1, 8), string.sub(stamps, 9, 16), kind, '', '')
return 'k' .. stamp .. stamps
