-- KEYS: record, sequence. ARGV: floor, ref, channel, epoch, owner.
local names = call('GETRANGE', record, 95, 94 + nkind + nuser)
local rest = call('GETRANGE', record, 95 + nkind + nuser + nowner, -1)
local numbers = sub(head, 3, 10) .. bump(sub(head, 11, 18))
local stamps = bump(sub(head, 43, 50)) .. sub(head, 51, 82)
call('SET', record, 'R\1' .. numbers .. sub(head, 19, 42) .. stamps .. sub(head, 83, 85) .. pack('>I2', #ARGV[5]) ..
  sub(head, 88, 95) .. names .. ARGV[5] .. rest)
note(sequence, channel, 4, ref, numbers, kind, '', '')
return 'k' .. stamp .. numbers .. stamps
