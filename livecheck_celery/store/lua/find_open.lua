-- Counts a pass of the sweep, and lists the cases that can have executions without a verdict.
--
-- KEYS[1]  open_cases  zset, names of cases, by the time at which they last got an execution
-- KEYS[2]  checks      hash; has the number of passes
-- ARGV[1]  passes      its field
-- Reply    {number of this pass, name, ...}

local found = redis.call('ZRANGE', KEYS[1], 0, -1)
local passes = tonumber(redis.call('HGET', KEYS[2], ARGV[1]))
-- A number that LiveCheck did not write, or cannot count from, begins again.
if not (passes and passes >= 0 and passes < 1e15 and passes == math.floor(passes)) then
  passes = 0
end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', passes + 1))
table.insert(found, 1, passes)
return found
