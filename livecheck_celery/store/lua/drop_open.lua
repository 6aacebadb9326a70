-- Forgets cases that have no execution without a verdict, unless one can be about to be recorded.
--
-- KEYS[1]       open_cases  zset, names of cases, by the time at which they last got an execution
-- ARGV[1]       delay       seconds for which a case that got an execution stays
-- ARGV[2...]    cases       their names
-- Reply         number of cases that were forgotten

local clock = redis.call('TIME')
local before = tonumber(clock[1]) + tonumber(clock[2]) / 1000000 - tonumber(ARGV[1])
local dropped = 0
for at = 2, #ARGV do
  local noted = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if noted and tonumber(noted) <= before then
    dropped = dropped + redis.call('ZREM', KEYS[1], ARGV[at])
  end
end
return dropped
