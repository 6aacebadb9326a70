-- Marks the suite as failing, and reports the failure unless the suite failed a short time ago.
--
-- KEYS[1]  suite             hash, the suite
-- KEYS[2]  reports           stream
-- ARGV[1]  status            new status of the suite
-- ARGV[2]  delay             seconds after a failure of the suite in which another one is not reported
-- ARGV[3]  report            the TestReport as a JSON object without "at"; empty if reports are not kept
-- ARGV[4]  max_reports       maximum length of the stream
-- ARGV[5]  max_report_bytes  maximum bytes of its reports
-- ARGV[6]  report_ttl        seconds for which reports are kept
-- ARGV[7]  token             unique to this failure
-- Reply    1 reported, also if this call is repeated; 0 not reported

-- include number
-- include check_stream
-- include add_report
local suite, reports, report, token = KEYS[1], KEYS[2], ARGV[3], ARGV[7]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
local stored = redis.call('HMGET', suite, 'status', 'last_fail', 'reported_by')
if stored[3] == token then
  -- The caller repeats a call whose reply was lost.
  return 1
end
local status, last_fail = stored[1] or 'INIT', number(stored[2])
local was_ok = status == 'INIT' or status == 'PASS' or status == 'SKIP'
local is_reported = was_ok or not last_fail or now - last_fail > tonumber(ARGV[2])
local refusal = check_stream(reports)
if refusal then
  return refusal
end

redis.call('HSET', suite, 'status', ARGV[1], 'last_fail', at)
if not is_reported then
  return 0
end
redis.call('HSET', suite, 'reported_by', token)
if report ~= '' then
  add_report(reports, report, at, ARGV[4], ARGV[5], ARGV[6])
end
return 1
