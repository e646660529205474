-- What follows is the script of one.
local function step(KEYS, ARGV)
  do
