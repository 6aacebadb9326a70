-- Registers a process for the signals of a test, and reads those that have arrived.
--
-- KEYS[1]  signals  hash, signals of a test, and the processes that listen for them
-- KEYS[2]  test     hash, the execution
-- ARGV[1]  address  of the process
-- ARGV[2]  ttl      minimum seconds for which the registration is kept
-- Reply    {field, value, ...} of the signals hash

local signals, test, ttl = KEYS[1], KEYS[2], tonumber(ARGV[2])
local is_judged = redis.call('HEXISTS', test, 'verdict') == 1

redis.call('HSET', signals, '>' .. ARGV[1], 'listen')
if redis.call('TTL', signals) < ttl then
  redis.call('EXPIRE', signals, ttl)
end
-- The record outlives the signals, so that the next use of the id can tell which are not its own.
if is_judged and redis.call('TTL', test) <= redis.call('TTL', signals) then
  redis.call('EXPIRE', test, redis.call('TTL', signals) + 1)
end
return redis.call('HGETALL', signals)
