-- An epoch that is not the record's. ARGV[4] is empty where none is compared.
if ARGV[4] ~= '' and ARGV[4] ~= string.sub(head, 19, 26) then
  local from = 167 + nkind + nuser
  return 'f' .. stamp .. string.sub(head, 19, 26) .. redis.call('GETRANGE', KEYS[1], from, from + nowner - 1)
end
