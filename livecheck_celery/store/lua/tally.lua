-- Adds to what was counted lately.
--
-- KEYS[1]   tally  hash, reason to count, and "since", when counting began
-- ARGV[1]   keep   seconds after which counting begins anew
-- ARGV[2…]  reason, count, and so on
-- Reply     nothing

if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'since', redis.call('TIME')[1])
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
for at = 2, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1])
end
return false
