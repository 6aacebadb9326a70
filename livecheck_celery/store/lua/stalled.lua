-- Tells whether the suite is to be called stalled now. Of several callers, one is told so in each period.
--
-- KEYS[1]  state               hash, the suite
-- ARGV[1]  warn_stalled_after  seconds; nothing for a case that is not active, whose time begins when it is
-- Reply    seconds since a test was last received, or nothing when the suite is not to be called stalled

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
if ARGV[1] == '' then
  redis.call('HSET', KEYS[1], 'watched_since', at)
  return ''
end
-- A case that never saw a test is measured from when it was first watched.
redis.call('HSETNX', KEYS[1], 'watched_since', at)
local suite = redis.call('HMGET', KEYS[1], 'last_test_received', 'received_at', 'watched_since')
local watched_since = tonumber(suite[3])
if now - math.max(tonumber(suite[1] or 0), watched_since) <= tonumber(ARGV[1]) then
  return ''
end
redis.call('HSET', KEYS[1], 'last_test_received', at)
return string.format('%.6f', now - math.max(tonumber(suite[2] or 0), watched_since))
