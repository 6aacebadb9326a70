-- Lets one run through each period, however many ask.
--
-- KEYS[1]  state   hash, the suite; "tat" is when the next run should come (theoretical arrival time)
-- ARGV[1]  period  seconds
-- Reply    1 run now; 0 the period is taken

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local period = tonumber(ARGV[1])
local tat = tonumber(redis.call('HGET', KEYS[1], 'tat') or now)
if tat > now + 1.5 * period then
  -- No run of this period leaves it that far away: it is from a longer period, or the clock was set back.
  tat = now
end
-- Half a period early is allowed, so that a beat which ticks unevenly keeps its rate.
if now < tat - period / 2 then
  return 0
end
redis.call('HSET', KEYS[1], 'tat', string.format('%.6f', math.max(now, tat) + period))
return 1
