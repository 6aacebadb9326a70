-- Records the verdict of an execution, and updates the suite.
--
-- KEYS[1]  test             hash, the execution
-- KEYS[2]  open             zset, executions without a verdict
-- KEYS[3]  signals          hash, signals of the execution, and the processes that listen for them
-- KEYS[4]  suite            hash, the suite
-- KEYS[5]  runtime_history  list, seconds that passing tests took
-- KEYS[6]  reports          stream
-- ARGV[1]  id               of the execution
-- ARGV[2]  token            fencing token of the claim
-- ARGV[3]  verdict          PASS, FAIL, ERROR, TIMEOUT or SKIP
-- ARGV[4]  runtime          seconds, or empty
-- ARGV[5]  max_history      maximum length of the list
-- ARGV[6]  delay            seconds after a failure of the suite in which a pass does not change its status
-- ARGV[7]  report           the TestReport as a JSON object without "at"; empty if reports are not kept
-- ARGV[8]  max_reports      maximum length of the stream
-- ARGV[9]  max_report_bytes maximum bytes of its reports
-- ARGV[10] report_ttl       seconds for which reports are kept
-- ARGV[11] forget_after     seconds for which the record and the signals are kept from now on
-- ARGV[12] remember         seconds for which the record is kept if a claim created it, or that of an earlier execution
-- ARGV[13] max_consecutive_failures  failed tests in a row with which the suite fails
-- ARGV[14] max_failure_rate          share of failed tests in the window above which the suite fails
-- ARGV[15] failure_rate_window       minimum length of the window in seconds
-- ARGV[16] failure_rate_tests        tests in the window below which the rate is not judged; the window has at least
--                                    five times as many, if that many were run
-- ARGV[17] max_open_bytes            maximum bytes of the signals of executions with a verdict
-- Reply    {accepted 1 or 0, at, consecutive_failures, status, change, failures, tests}
--          change: consecutive, rate (the suite fails from this verdict on, and why), recovered, or empty
--          failures, tests: in the window

-- include number
-- include check_stream
-- include add_report
-- include open_bytes
-- include kept_bytes
local test, open, signals, suite, runtime_history, reports = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, token, verdict, runtime = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_history, delay, report = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local max_reports, max_report_bytes, report_ttl = ARGV[8], ARGV[9], ARGV[10]
local forget_after, remember = tonumber(ARGV[11]), tonumber(ARGV[12])
local max_consecutive_failures, max_failure_rate = tonumber(ARGV[13]), tonumber(ARGV[14])
local window, rate_tests = tonumber(ARGV[15]), tonumber(ARGV[16])
-- The window moves by whole buckets. A bucket is closed when it is old enough and has enough tests.
local BUCKETS = 10
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
local record = redis.call('HMGET', test, 'token', 'verdict_token', 'verdict_reply', 'recorded_at', 'expires_at',
  'not_before', 'by_message', 'use', 'limits', 'nonce')
local held_by, judged_by, recorded_at, expires_at = record[1], record[2], record[4], record[5]
-- Only a trigger sets not_before.
local by_message = record[7] or not record[6]

if judged_by == token then
  -- The runner repeats a verdict whose reply was lost: the reply is the same, and nothing counts twice.
  local is_read, reply = pcall(cjson.decode, record[3] or '')
  if is_read and type(reply) == 'table' then
    return reply
  end
end
local stored = redis.call('HMGET', suite, 'consecutive_failures', 'status', 'last_fail', 'total_failures',
  'total:' .. verdict, 'failing_since', 'consecutive_passes', 'recent')
local consecutive_failures, status = number(stored[1]) or 0, stored[2] or 'INIT'
local failing_since, consecutive_passes, last_fail = stored[6], number(stored[7]) or 0, number(stored[3])
if held_by ~= token then
  return {0, at, consecutive_failures, status, '', 0, 0}
end

local buckets, failures, tests = {}, 0, 0
for started, tests_then, failures_then in string.gmatch(stored[8] or '', '([%d.]+):(%d+):(%d+)') do
  table.insert(buckets, {started = started, tests = tonumber(tests_then), failures = tonumber(failures_then)})
end
if verdict ~= 'SKIP' then
  local last = buckets[#buckets]
  if not last or (now - tonumber(last.started) >= window / BUCKETS and last.tests >= rate_tests * 5 / BUCKETS) then
    table.insert(buckets, {started = at, tests = 0, failures = 0})
  end
  last = buckets[#buckets]
  last.tests = last.tests + 1
  last.failures = last.failures + (verdict == 'PASS' and 0 or 1)
end
while #buckets > BUCKETS + 1 do
  table.remove(buckets, 1)
end
for _, bucket in ipairs(buckets) do
  failures, tests = failures + bucket.failures, tests + bucket.tests
end
local function rate_exceeds(limit)
  return tests >= rate_tests and failures > limit * tests
end

local changes = {'total:' .. verdict, (number(stored[5]) or 0) + 1}
local function change(field, value)
  table.insert(changes, field)
  table.insert(changes, value)
end
local suite_change = ''
if verdict == 'PASS' then
  consecutive_failures, consecutive_passes = 0, consecutive_passes + 1
  if failing_since and (consecutive_passes >= rate_tests or not rate_exceeds(max_failure_rate / 2)) then
    suite_change = 'recovered'
    if consecutive_passes >= rate_tests then
      -- Else the next failed test would count with all those of the time before the recovery.
      buckets = {}
    end
  end
  if not last_fail or now - last_fail > delay then
    status = verdict
    change('status', status)
  end
  change('consecutive_failures', 0)
elseif verdict ~= 'SKIP' then
  consecutive_failures, consecutive_passes, status = consecutive_failures + 1, 0, verdict
  change('last_failed_test', at)
  if failing_since then
    change('last_fail', at)
  elseif consecutive_failures >= max_consecutive_failures then
    suite_change = 'consecutive'
  elseif rate_exceeds(max_failure_rate) then
    suite_change = 'rate'
  end
  if suite_change ~= '' then
    change('failing_since', at)
  end
  change('status', status)
  change('consecutive_failures', consecutive_failures)
  change('total_failures', (number(stored[4]) or 0) + 1)
end
if verdict ~= 'SKIP' then
  local packed = {}
  for _, bucket in ipairs(buckets) do
    table.insert(packed, bucket.started .. ':' .. bucket.tests .. ':' .. bucket.failures)
  end
  change('recent', table.concat(packed, ' '))
  change('consecutive_passes', consecutive_passes)
end
local reply = {1, at, consecutive_failures, status, suite_change, failures, tests}
-- Other tests can wait for signals of this one. Its own claims end, also those of workers that died.
local is_awaited, claims = false, {}
for _, field in ipairs(redis.call('HKEYS', signals)) do
  if string.sub(field, 1, 1) == '>' then
    if redis.call('HGET', signals, field) == 'claim' then
      table.insert(claims, field)
    else
      is_awaited = true
    end
  end
end
local kept = kept_with(suite, now, bytes_in(test, 'signal_bytes'), forget_after, tonumber(ARGV[17]))
local keep_signals = kept and forget_after or 1
local expire_signals = not is_awaited and redis.call('TTL', signals) > keep_signals

-- Every key is read before the first write, so that a key of another type changes nothing.
redis.call('ZSCORE', open, id)
redis.call('LRANGE', runtime_history, 0, 0)
local refusal = check_stream(reports)
if refusal then
  return refusal
end

redis.call('HSET', suite, unpack(changes))
if suite_change == 'recovered' then
  redis.call('HDEL', suite, 'failing_since')
end
if verdict == 'PASS' and runtime ~= '' then
  redis.call('RPUSH', runtime_history, runtime)
  redis.call('LTRIM', runtime_history, -max_history, -1)
end
remove_open(open, suite, test, id)
for _, field in ipairs(claims) do
  redis.call('HDEL', signals, field)
end
if kept then
  redis.call('HSET', suite, 'kept', kept)
end
if expire_signals then
  redis.call('EXPIRE', signals, keep_signals)
end
if report ~= '' then
  add_report(reports, report, at, max_reports, max_report_bytes, report_ttl)
end
-- The record stays for a runner that did not receive this reply, and for a message that is delivered twice. A later
-- message is recognized by its recorded_at; the message of an execution that a claim recorded has none.
redis.call('DEL', test)
redis.call('HSET', test, 'recorded_at', recorded_at, 'expires_at', expires_at, 'verdict', verdict,
  'verdict_token', token, 'verdict_reply', cjson.encode(reply), 'verdict_at', at, 'use', record[8] or '',
  'nonce', record[10] or '', 'limits', record[9] or '{}')
if by_message then
  redis.call('HSET', test, 'by_message', 1)
end
redis.call('EXPIRE', test, by_message and remember or forget_after)
-- The record outlives the signals, so that the next use of the id can tell which are not its own.
if redis.call('TTL', test) <= redis.call('TTL', signals) then
  redis.call('EXPIRE', test, redis.call('TTL', signals) + 1)
end
return reply
