-- What several updates tell goes out in one message to each channel.
local told = {}
local function tell(channel, notice)
  local notices = told[channel]
  if not notices then
    notices = {}
    told[channel] = notices
  end
  notices[#notices + 1] = notice
end
