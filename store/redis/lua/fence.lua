-- An epoch that is not the record's. It is empty where none is compared.
if epoch ~= '' and epoch ~= sub(head, 43, 50) then
  local from = 95 + nkind + nuser
  return 'f' .. stamp .. sub(head, 43, 50) .. call('GETRANGE', record, from, from + nowner - 1)
end
