-- KEYS: record, events. ARGV: floor, ref, -, stream.
return 'k' .. stamp .. (call('HGET', KEYS[2], 's' .. ARGV[4]) or string.rep('\0', 16))
