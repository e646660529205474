-- KEYS: record, events. ARGV: floor, ref, -, bytes, age (zero: no bound).
if call('EXISTS', key) == 0 then return 'k' .. stamp end
local keep, age = tonumber(ARGV[4]), tonumber(ARGV[5])
open()
while dropOldest(function(at) return keep > 0 and bytes > keep or age > 0 and at < now - age end) do end
close()
return 'k' .. stamp
