-- Registers a process for the signals of a test, and reads those that have arrived.
--
-- KEYS[1]  signals  hash, signals of a test, and the processes that listen for them
-- ARGV[1]  address  of the process
-- ARGV[2]  ttl      minimum seconds for which the registration is kept
-- Reply    {field, value, ...} of the signals hash

redis.call('HSET', KEYS[1], '>' .. ARGV[1], 1)
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return redis.call('HGETALL', KEYS[1])
