-- Notes that cases get executions without a verdict.
--
-- KEYS[1]    open_cases  zset, names of cases, by the time at which they last got an execution
-- ARGV[...]  cases       their names
-- Reply      1

local clock = redis.call('TIME')
local now = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)
for _, case in ipairs(ARGV) do
  redis.call('ZADD', KEYS[1], now, case)
end
return 1
