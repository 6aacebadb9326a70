-- Records a sign of life, of beat or of the workers that execute schedules.
--
-- KEYS[1]  sign  string, time of the last one
-- ARGV[1]  ttl   seconds
-- Reply    now

local clock = redis.call('TIME')
local now = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)
redis.call('SET', KEYS[1], now, 'EX', ARGV[1])
return now
