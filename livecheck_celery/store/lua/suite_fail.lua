-- Marks the suite as failing, and reports that unless it was reported a short time ago.
--
-- KEYS[1]  state        hash, the suite
-- KEYS[2]  reports      stream
-- ARGV[1]  status       the suite's new one
-- ARGV[2]  delay        seconds after a failure of the suite in which a further one is not reported
-- ARGV[3]  report       the TestReport as a JSON object without "at"; nothing when reports are not kept
-- ARGV[4]  max_reports  longest stream
-- Reply    1 to be reported; 0 not

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
local suite = redis.call('HMGET', KEYS[1], 'status', 'last_fail')
local status = suite[1] or 'INIT'
local was_ok = status == 'INIT' or status == 'PASS' or status == 'SKIP'
local report = was_ok or not suite[2] or now - tonumber(suite[2]) > tonumber(ARGV[2])

redis.call('HSET', KEYS[1], 'status', ARGV[1], 'last_fail', at)
if not report then
  return 0
end
if ARGV[3] ~= '' then
  local text = string.sub(ARGV[3], 1, -2) .. ',"at":' .. at .. '}'
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[4], '*', 'report', text)
end
return 1
