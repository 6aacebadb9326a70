-- Expects tests of the suite from now on, unless they were expected before, and decides whether to report it as
-- stalled. In each period, one caller reports it.
--
-- KEYS[1]  suite               hash, the suite
-- ARGV[1]  warn_stalled_after  seconds; empty for an inactive case, which is measured from its reactivation
-- ARGV[2]  report              1 to report a stall; 0 for a worker that starts, whose tests are expected from now on
-- ARGV[3]  checked_at          time of the last check that did not look at the suite; empty if none is known
-- Reply    {seconds since a test was last received, or empty if the suite is not reported as stalled; time of this
--          check; time from which the silence counts, of an active case}

-- include number
-- include is_resumed
local suite, warn_stalled_after = KEYS[1], tonumber(ARGV[1])
local report = ARGV[2] == '1'
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
if not warn_stalled_after then
  redis.call('HSET', suite, 'expected_since', at, 'checked_at', at)
  return {'', at, at}
end
local stored = redis.call('HMGET', suite, 'last_test_received', 'received_at', 'expected_since', 'checked_at')
-- A case that never received a test is measured from the time when tests were first expected.
local expected_since = number(stored[3]) or now
local checked_at = math.max(number(stored[4]) or 0, number(ARGV[3]) or 0)
local resumed = checked_at > 0 and is_resumed(now, checked_at, warn_stalled_after)
if resumed then
  expected_since = now - math.max(0, checked_at - math.max((number(stored[2]) or 0), expected_since))
end
local since = math.max(number(stored[1]) or 0, expected_since)
local is_reported = report and now - since > warn_stalled_after
local silent_for = now - math.max((number(stored[2]) or 0), expected_since)

redis.call('HSET', suite, 'checked_at', at)
if not stored[3] or resumed then
  redis.call('HSET', suite, 'expected_since', string.format('%.6f', expected_since))
end
if not is_reported then
  return {'', at, string.format('%.6f', since)}
end
redis.call('HSET', suite, 'last_test_received', at)
return {string.format('%.6f', silent_for), at, at}
