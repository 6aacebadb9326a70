-- Adds a report to the stream.
--
-- KEYS[1]  reports           stream
-- ARGV[1]  report            the TestReport as a JSON object without "at"; empty if reports are not kept
-- ARGV[2]  max_reports       maximum length of the stream
-- ARGV[3]  max_report_bytes  maximum bytes of its reports
-- ARGV[4]  report_ttl        seconds for which reports are kept
-- Reply    at, the time of the report

-- include add_report
local report = ARGV[1]
local clock = redis.call('TIME')
local at = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)
if report ~= '' then
  add_report(KEYS[1], report, at, ARGV[2], ARGV[3], ARGV[4])
end
return at
