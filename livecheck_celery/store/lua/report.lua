-- Adds a report to the stream.
--
-- KEYS[1]  reports      stream
-- ARGV[1]  report       the TestReport as a JSON object without "at"; nothing when reports are not kept
-- ARGV[2]  max_reports  longest stream
-- Reply    at

local clock = redis.call('TIME')
local at = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)
if ARGV[1] ~= '' then
  local text = string.sub(ARGV[1], 1, -2) .. ',"at":' .. at .. '}'
  redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'report', text)
end
return at
