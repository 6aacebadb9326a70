-- Tells whether a run of a schedule is to be asked for again, as its runner fell silent. One caller a lease is told so.
--
-- KEYS[1]  state     hash, the suite
-- ARGV[1]  lease     seconds
-- ARGV[2]  attempts  most that are made at one run
-- Reply    1 ask for it; 0 not: it is being made, was made, was tried often enough, or its time is over

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local slot = redis.call('HMGET', KEYS[1], 'slot', 'slot_until', 'slot_over', 'slot_attempts', 'slot_sent')
if not slot[1] or tonumber(slot[2]) > now or tonumber(slot[3]) <= now or tonumber(slot[4]) >= tonumber(ARGV[2])
  or tonumber(slot[5] or 0) > now then
  return 0
end
redis.call('HSET', KEYS[1], 'slot_sent', string.format('%.6f', now + tonumber(ARGV[1])))
return 1
