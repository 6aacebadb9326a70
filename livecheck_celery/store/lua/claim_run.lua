-- Claims the run of a schedule for one caller: the run of this period, or the last one if its lease lapsed.
--
-- KEYS[1]  suite         hash, the suite; "tat" is when the next run should come (theoretical arrival time)
-- ARGV[1]  period        seconds until the run after this one should come
-- ARGV[2]  early         seconds by which a run can come before its time
-- ARGV[3]  token         fencing token of the claimer, unique to this claim
-- ARGV[4]  lease         seconds after which another caller can claim the run, unless it was renewed or finished
-- ARGV[5]  max_attempts  maximum number of claims of one run
-- Reply    number of this attempt at the run, from 1; 0 the run is claimed or finished

-- include number
local suite, token = KEYS[1], ARGV[3]
local period, early, lease, max_attempts = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local stored = redis.call('HMGET', suite, 'tat', 'run', 'run_until', 'run_over', 'run_attempts')
local tat, run, run_until = number(stored[1]) or now, stored[2], number(stored[3]) or 0
local run_over, attempts = number(stored[4]) or 0, number(stored[5]) or 0

local function stamp(time)
  return string.format('%.6f', time)
end

if run == token then
  return attempts
end
-- Two runs never overlap. A lease that ends too far in the future is from before the clock was set back.
if run and run_until > now and run_until <= now + 2 * lease then
  return 0
end
if tat > now + 1.5 * period then
  -- Too far in the future for this period: "tat" is from a longer period, or the clock was set back.
  tat = now
end
if now >= tat - early then
  tat = math.max(now, tat) + period
  redis.call('HSET', suite, 'tat', stamp(tat), 'run', token, 'run_until', stamp(now + lease),
    'run_over', stamp(tat - early), 'run_attempts', 1)
  redis.call('HDEL', suite, 'run_sent')
  return 1
end
if run and now < run_over and attempts < max_attempts then
  redis.call('HSET', suite, 'run', token, 'run_until', stamp(now + lease), 'run_attempts', attempts + 1)
  return attempts + 1
end
return 0
