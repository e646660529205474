-- What is kept of a record that ended.
local function tomb(version, created, accessed, at, op, kind, user, reason, by)
  return 't\1' .. version .. created .. accessed .. at .. struct.pack('>I8', now + 86400000) .. op ..
    struct.pack('>BI2BI2', #kind, #user, #reason, #by) .. kind .. user .. reason .. by
end
local function ended(member, body) return member .. struct.pack('>I4', #body) .. body end
