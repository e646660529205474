-- Tells watchers, with the next number of this tag, so that they notice what
-- they miss. numbers are version and revision.
local function note(sequence, channel, change, ref, numbers, kind, reason, by)
  tell(channel, pack('>I2BI8', 44 + #kind + #reason + #by, change, call('INCR', sequence)) ..
    ref .. numbers .. char(#kind, #reason) .. kind .. reason .. by)
end
