-- ARGV: name of the floor, revision, for how long floors are kept at least,
-- how many.
if newer == 1 and (now - since >= tonumber(ARGV[3]) or redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[4])) then
  -- The older floors are forgotten: who read before they were closed, and
  -- comes only now, is refused whatever it read.
  if older_ == 1 then blind = math.max(blind, closed) end
  redis.call('RENAME', KEYS[2], KEYS[3])
  generation = generation + 1
  closed, since, newer, older_ = generation, now, 0, 1
  save()
end
local floor = redis.call('HGET', KEYS[2], ARGV[1])
if not floor or below(floor, ARGV[2]) then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
if newer == 0 then
  newer, since = 1, now
  save()
end
local old = redis.call('GETRANGE', KEYS[4], '0', '15')
if #old == 16 and below(string.sub(old, 9, 16), ARGV[2]) then redis.call('DEL', KEYS[4]) end
return 1
