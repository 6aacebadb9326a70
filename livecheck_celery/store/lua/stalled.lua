-- Tells whether the suite is to be called stalled now. Of several callers, one is told so in each period.
--
-- KEYS[1]  state               hash, the suite
-- ARGV[1]  warn_stalled_after  seconds
-- Reply    seconds since a test was last received, or nothing when the suite is not to be called stalled

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local suite = redis.call('HMGET', KEYS[1], 'last_test_received', 'received_at', 'watched_since')
local watched_since = suite[3]
if not watched_since then
  -- A case that never saw a test is measured from when somebody first asked.
  watched_since = string.format('%.6f', now)
  redis.call('HSET', KEYS[1], 'watched_since', watched_since)
end
if now - tonumber(suite[1] or watched_since) <= tonumber(ARGV[1]) then
  return ''
end
redis.call('HSET', KEYS[1], 'last_test_received', string.format('%.6f', now))
return string.format('%.6f', now - tonumber(suite[2] or watched_since))
