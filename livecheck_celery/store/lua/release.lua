-- Gives a claimed execution back, to be run by another worker.
--
-- KEYS[1]  test   hash, the execution
-- KEYS[2]  open   zset, executions without a verdict
-- ARGV[1]  id
-- ARGV[2]  token  of the claim
-- Reply    1 given back; 0 the execution is no longer the token's

local record = redis.call('HMGET', KEYS[1], 'token', 'verdict')
if record[1] ~= ARGV[2] or record[2] then
  return 0
end
local clock = redis.call('TIME')
redis.call('HDEL', KEYS[1], 'token', 'lease_until', 'outcome')
-- Giving back is no failure of the test, so it costs no attempt.
redis.call('HINCRBY', KEYS[1], 'attempts', -1)
-- XX: a set begun here would have no TTL.
redis.call('ZADD', KEYS[2], 'XX', string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000), ARGV[1])
return 1
