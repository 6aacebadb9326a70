-- Adds a report to the stream.
--
-- KEYS[1]  reports      stream
-- ARGV[1]  report       the TestReport as a JSON object without "at"; empty if reports are not kept
-- ARGV[2]  max_reports  maximum length of the stream
-- Reply    at, the time of the report

local report = ARGV[1]
local clock = redis.call('TIME')
local at = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)
if report ~= '' then
  redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'report', string.sub(report, 1, -2) .. ',"at":' .. at .. '}')
end
return at
