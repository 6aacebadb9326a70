-- Renews the lease of a run of a schedule.
--
-- KEYS[1]  suite  hash, the suite
-- ARGV[1]  token  fencing token of the claim
-- ARGV[2]  lease  seconds from now
-- Reply    1 renewed; 0 the token does not hold the run

if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then
  return 0
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
redis.call('HSET', KEYS[1], 'run_until', string.format('%.6f', now + tonumber(ARGV[2])))
return 1
