local function tell(channel, notice) redis.call('PUBLISH', channel, notice) end
