-- Adds to the counters of all processes.
--
-- KEYS[1]      counters  hash, reason to count, "@" and reason to the time of its last count, and "since", when
--                        counting began
-- ARGV[1]      ttl       seconds after which counting starts again
-- ARGV[2]      limit     reasons above which new ones are not counted
-- ARGV[3...]   counts    reason, count, reason, count, and so on
-- Reply        nil

local counters, ttl, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])
local is_new = redis.call('EXISTS', counters) == 0
local now = redis.call('TIME')[1]
local left = limit - math.floor(redis.call('HLEN', counters) / 2)

for at = 3, #ARGV, 2 do
  -- What LiveCheck did not write is counted anew: an error would also keep the other counts from being added.
  local count = redis.call('HGET', counters, ARGV[at])
  if count and not (string.match(count, '^%d+$') and #count < 16) then
    redis.call('HSET', counters, ARGV[at], 0)
  end
end
if is_new then
  redis.call('HSET', counters, 'since', now)
  redis.call('EXPIRE', counters, ttl)
end
for at = 3, #ARGV, 2 do
  if redis.call('HEXISTS', counters, ARGV[at]) == 0 then
    left = left - 1
  end
  if left >= 0 or redis.call('HEXISTS', counters, ARGV[at]) == 1 then
    redis.call('HINCRBY', counters, ARGV[at], ARGV[at + 1])
    redis.call('HSET', counters, '@' .. ARGV[at], now)
  end
end
return false
