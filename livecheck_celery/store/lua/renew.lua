-- Renews the lease of a running execution.
--
-- KEYS[1]  test   hash, the execution
-- KEYS[2]  open   zset, executions without a verdict
-- ARGV[1]  id     of the execution
-- ARGV[2]  token  fencing token of the claim
-- ARGV[3]  lease  seconds from now
-- Reply    1 renewed, or the execution has the verdict of this token; 0 the token does not hold the execution

local test, open, id, token, lease = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3])
local record = redis.call('HMGET', test, 'token', 'expires_at', 'verdict_token')
if record[3] == token then
  return 1
end
if record[1] ~= token then
  return 0
end
local is_open = redis.call('ZSCORE', open, id)
local clock = redis.call('TIME')
local lease_until = tonumber(clock[1]) + tonumber(clock[2]) / 1000000 + lease
-- The sweep checks the execution when it expires, even during a long lease.
local check_at = math.min(lease_until, tonumber(record[2]))

redis.call('HSET', test, 'lease_until', string.format('%.6f', lease_until))
-- A set created here would have no TTL.
if is_open then
  redis.call('ZADD', open, string.format('%.6f', check_at), id)
end
return 1
