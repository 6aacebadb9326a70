-- Decides whether to re-send the message of a run whose lease lapsed. One caller re-sends it, once per lease.
--
-- KEYS[1]  suite         hash, the suite
-- ARGV[1]  lease         seconds
-- ARGV[2]  max_attempts  maximum number of claims of one run
-- Reply    1 re-send it; 0 the run is claimed, finished or over, or was claimed max_attempts times

local lease, max_attempts = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local stored = redis.call('HMGET', KEYS[1], 'run', 'run_until', 'run_over', 'run_attempts', 'run_sent')
if not stored[1] or tonumber(stored[2]) > now or tonumber(stored[3]) <= now or tonumber(stored[4]) >= max_attempts
  or tonumber(stored[5] or 0) > now then
  return 0
end
redis.call('HSET', KEYS[1], 'run_sent', string.format('%.6f', now + lease))
return 1
