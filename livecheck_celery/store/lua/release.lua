-- Releases a claimed execution, for another worker to run.
--
-- KEYS[1]  test   hash, the execution
-- KEYS[2]  open   zset, executions without a verdict
-- ARGV[1]  id     of the execution
-- ARGV[2]  token  fencing token of the claim
-- Reply    1 released; 0 the token does not hold the execution

local test, open, id, token = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if redis.call('HGET', test, 'token') ~= token then
  return 0
end
local is_open = redis.call('ZSCORE', open, id)
local clock = redis.call('TIME')

-- A released attempt does not count, since the test did not fail.
redis.call('HINCRBY', test, 'attempts', -1)
redis.call('HDEL', test, 'token', 'lease_until', 'outcome')
-- A set created here would have no TTL.
if is_open then
  redis.call('ZADD', open, string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000), id)
end
return 1
