-- Gives each run of a schedule to one caller: the run of this period, or the last one if its runner fell silent.
--
-- KEYS[1]  state     hash, the suite; "tat" is when the next run should come (theoretical arrival time)
-- ARGV[1]  period    seconds until the run after this one should come
-- ARGV[2]  early     seconds that a run may come before its time
-- ARGV[3]  token     of the claimer, unique to this claim
-- ARGV[4]  lease     seconds after which another may make the run, unless it was renewed or finished
-- ARGV[5]  attempts  most that are made at one run
-- Reply    which attempt at the run this is, 1 for the first; 0 the run is somebody else's, or was made

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local period, early, token, lease = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local slot = redis.call('HMGET', KEYS[1], 'tat', 'slot', 'slot_until', 'slot_over', 'slot_attempts')
local tat, slot_until = tonumber(slot[1] or now), tonumber(slot[3] or 0)
local attempts = tonumber(slot[5] or 0)

local function stamp(time)
  return string.format('%.6f', time)
end

if slot[2] == token then
  return attempts
end
-- Never two at once. A lease that ends too far away is from before the clock was set back.
if slot[2] and slot_until > now and slot_until <= now + 2 * lease then
  return 0
end
if tat > now + 1.5 * period then
  -- No run of this period leaves it that far away: it is from a longer period, or the clock was set back.
  tat = now
end
if now >= tat - early then
  tat = math.max(now, tat) + period
  redis.call('HSET', KEYS[1], 'tat', stamp(tat), 'slot', token, 'slot_until', stamp(now + lease),
    'slot_over', stamp(tat - early), 'slot_attempts', 1)
  redis.call('HDEL', KEYS[1], 'slot_sent')
  return 1
end
if slot[2] and now < tonumber(slot[4] or 0) and attempts < tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[1], 'slot', token, 'slot_until', stamp(now + lease), 'slot_attempts', attempts + 1)
  return attempts + 1
end
return 0
