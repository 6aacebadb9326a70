-- Notes that tests of a case are expected from now on, unless that is noted already.
--
-- KEYS[1]  state  hash, the suite
-- Reply    1 noted; 0 it was

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
return redis.call('HSETNX', KEYS[1], 'watched_since', string.format('%.6f', now))
