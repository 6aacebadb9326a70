-- Decides whether to report the suite as stalled. In each period, one caller reports it.
--
-- KEYS[1]  suite               hash, the suite
-- ARGV[1]  warn_stalled_after  seconds; empty for an inactive case, which is measured from its reactivation
-- Reply    seconds since a test was last received; empty if the suite is not reported as stalled

local suite, warn_stalled_after = KEYS[1], tonumber(ARGV[1])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
if not warn_stalled_after then
  redis.call('HSET', suite, 'expected_since', at)
  return ''
end
local stored = redis.call('HMGET', suite, 'last_test_received', 'received_at', 'expected_since')
-- A case that never received a test is measured from the time when tests were first expected.
local expected_since = tonumber(stored[3] or now)
local is_stalled = now - math.max(tonumber(stored[1] or 0), expected_since) > warn_stalled_after
local silent_for = now - math.max(tonumber(stored[2] or 0), expected_since)

if not stored[3] then
  redis.call('HSET', suite, 'expected_since', at)
end
if not is_stalled then
  return ''
end
redis.call('HSET', suite, 'last_test_received', at)
return string.format('%.6f', silent_for)
