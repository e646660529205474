local function tell(channel, notice) call('PUBLISH', channel, notice) end
