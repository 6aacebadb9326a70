-- Records that tests of a case are expected from now on, unless they were expected before.
--
-- KEYS[1]  suite  hash, the suite
-- Reply    1 recorded; 0 they were expected before

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
return redis.call('HSETNX', KEYS[1], 'expected_since', string.format('%.6f', now))
