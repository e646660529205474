-- Tells watchers, with the next number of this tag, so that they notice what
-- they miss.
local function note(change, ref, version, revision, kind, reason, by)
  local notice = string.char(change) .. struct.pack('>I8', redis.call('INCR', KEYS[2])) ..
    ref .. version .. revision .. string.char(#kind, #reason) .. kind .. reason .. by
  tell(ARGV[3], struct.pack('>I2', #notice) .. notice)
end
