-- What is kept of a record that ended.
local function tomb(version, created, accessed, at, op, kind, user, reason, by)
  return 't\1' .. version .. created .. accessed .. at .. op ..
    pack('>BI2BI2', #kind, #user, #reason, #by) .. kind .. user .. reason .. by
end
-- bury puts it where the record was. It is remembered for a day at least.
local function bury(key, tombs, member, body)
  call('SET', key, body)
  call('ZADD', tombs, now + 86400000, member)
end
local function ended(member, body) return member .. pack('>I4', #body) .. body end
