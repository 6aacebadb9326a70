-- Lists the executions that the sweep should check now.
--
-- KEYS[1]  open   zset, executions without a verdict
-- ARGV[1]  limit  maximum number of ids
-- Reply    {id, ...}, longest overdue first

local clock = redis.call('TIME')
local now = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
