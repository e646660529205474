-- What follows is the script of one.
local function step(record, sequence, channel, change, data, meta)
  do
