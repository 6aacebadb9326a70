-- Notes that beat is alive.
--
-- KEYS[1]  beat  string, when it was last seen
-- ARGV[1]  ttl   seconds
-- Reply    now

local clock = redis.call('TIME')
local now = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)
redis.call('SET', KEYS[1], now, 'EX', ARGV[1])
return now
