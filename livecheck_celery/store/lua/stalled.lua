-- Expects tests of the suite from now on, unless they were expected before, and decides whether to report it as
-- stalled. In each period, one caller reports it.
--
-- KEYS[1]  suite               hash, the suite
-- ARGV[1]  warn_stalled_after  seconds; empty for an inactive case, which is measured from its reactivation
-- ARGV[2]  report              1 to report a stall; 0 for a worker that starts, whose tests are expected from now on
-- Reply    seconds since a test was last received; empty if the suite is not reported as stalled

-- include number
local suite, warn_stalled_after = KEYS[1], tonumber(ARGV[1])
local report = ARGV[2] == '1'
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
if not warn_stalled_after then
  redis.call('HSET', suite, 'expected_since', at, 'checked_at', at)
  return ''
end
local stored = redis.call('HMGET', suite, 'last_test_received', 'received_at', 'expected_since', 'checked_at')
-- A case that never received a test is measured from the time when tests were first expected.
local expected_since, checked_at = number(stored[3]) or now, number(stored[4]) or now
-- Nobody ran tests while nobody checked the suite, so that time is not silence. Checks are at most half a minute apart.
local is_resumed = now - checked_at > math.max(3, math.min(0.75 * warn_stalled_after, 90))
if is_resumed then
  expected_since = now - math.max(0, checked_at - math.max((number(stored[2]) or 0), expected_since))
end
local is_stalled = now - math.max(number(stored[1]) or 0, expected_since) > warn_stalled_after
local silent_for = now - math.max((number(stored[2]) or 0), expected_since)

redis.call('HSET', suite, 'checked_at', at)
if not stored[3] or is_resumed then
  redis.call('HSET', suite, 'expected_since', string.format('%.6f', expected_since))
end
if not (is_stalled and report) then
  return ''
end
redis.call('HSET', suite, 'last_test_received', at)
return string.format('%.6f', silent_for)
