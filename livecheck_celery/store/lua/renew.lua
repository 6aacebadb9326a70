-- Prolongs the lease of a running execution.
--
-- KEYS[1]  test   hash, the execution
-- KEYS[2]  open   zset, executions without a verdict
-- ARGV[1]  id
-- ARGV[2]  token  of the claim
-- ARGV[3]  lease  seconds from now
-- Reply    1 renewed; 0 the execution is no longer the token's

local record = redis.call('HMGET', KEYS[1], 'token', 'verdict', 'expires_at')
if record[1] ~= ARGV[2] or record[2] then
  return 0
end
local clock = redis.call('TIME')
local lease_until = tonumber(clock[1]) + tonumber(clock[2]) / 1000000 + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'lease_until', string.format('%.6f', lease_until))
-- However long the lease, the sweep looks at the execution when it expires. XX: a set begun here would have no TTL.
redis.call('ZADD', KEYS[2], 'XX', string.format('%.6f', math.min(lease_until, tonumber(record[3]))), ARGV[1])
return 1
