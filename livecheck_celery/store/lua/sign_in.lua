-- Records the sign of life of one process, and forgets the processes that gave none for ttl seconds.
--
-- KEYS[1]  seen       zset, running processes, by the time of their last sign of life
-- KEYS[2]  processes  hash, id of a process to its record
-- KEYS[3]  declared   string, names of the cases that the process declares; processes with the same cases share it
-- ARGV[1]  id         of the process
-- ARGV[2]  record     JSON
-- ARGV[3]  ttl        seconds
-- ARGV[4]  cases      JSON; empty to keep the stored names
-- Reply    1; 0 if no names are stored: the caller must send them

local seen, processes, declared = KEYS[1], KEYS[2], KEYS[3]
local id, record, ttl, cases = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
-- Every key is read before the first write, so that a key of another type changes nothing.
local gone = redis.call('ZRANGEBYSCORE', seen, '-inf', string.format('(%.6f', now - ttl))
redis.call('HEXISTS', processes, id)
redis.call('GET', declared)

for _, each in ipairs(gone) do
  redis.call('ZREM', seen, each)
  redis.call('HDEL', processes, each)
end
redis.call('ZADD', seen, string.format('%.6f', now), id)
redis.call('HSET', processes, id, record)
redis.call('EXPIRE', seen, ttl)
redis.call('EXPIRE', processes, ttl)
if cases ~= '' then
  redis.call('SET', declared, cases, 'EX', ttl)
  return 1
end
return redis.call('EXPIRE', declared, ttl)
