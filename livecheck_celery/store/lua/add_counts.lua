-- Adds to the counters of all processes.
--
-- KEYS[1]      counters  hash, reason to count, and "since", when counting began
-- ARGV[1]      ttl       seconds after which counting starts again
-- ARGV[2...]   counts    reason, count, reason, count, and so on
-- Reply        nil

local counters, ttl = KEYS[1], ARGV[1]
local is_new = redis.call('EXISTS', counters) == 0
for at = 2, #ARGV, 2 do
  if not tonumber(redis.call('HGET', counters, ARGV[at]) or 0) then
    return redis.error_reply('ERR ' .. counters .. ' holds a count that is not a number: ' .. ARGV[at])
  end
end

if is_new then
  redis.call('HSET', counters, 'since', redis.call('TIME')[1])
  redis.call('EXPIRE', counters, ttl)
end
for at = 2, #ARGV, 2 do
  redis.call('HINCRBY', counters, ARGV[at], ARGV[at + 1])
end
return false
