-- Notes that a run of a schedule was made, so that nobody makes it again.
--
-- KEYS[1]  state  hash, the suite
-- ARGV[1]  token  of the claim
-- Reply    1 noted; 0 the run is not the token's

if redis.call('HGET', KEYS[1], 'slot') ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'slot', 'slot_until', 'slot_over', 'slot_attempts', 'slot_sent')
return 1
