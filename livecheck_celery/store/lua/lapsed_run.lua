-- Decides whether to re-send the message of a run whose lease lapsed. One caller re-sends it, once per lease.
--
-- KEYS[1]  suite         hash, the suite
-- ARGV[1]  lease         seconds
-- ARGV[2]  max_attempts  maximum number of claims of one run
-- Reply    1 re-send it; 0 the run is claimed, finished or over, or was claimed max_attempts times

-- include number
local lease, max_attempts = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local stored = redis.call('HMGET', KEYS[1], 'run', 'run_until', 'run_over', 'run_attempts', 'run_sent')
local run_until, run_over, attempts = number(stored[2]) or 0, number(stored[3]) or 0, number(stored[4]) or 0
local run_sent = number(stored[5]) or 0
-- A time that no lease can have set is as none.
if not stored[1] or (run_until > now and run_until <= now + 2 * lease) or run_over <= now or attempts >= max_attempts
  or (run_sent > now and run_sent <= now + 2 * lease) then
  return 0
end
redis.call('HSET', KEYS[1], 'run_sent', string.format('%.6f', now + lease))
return 1
