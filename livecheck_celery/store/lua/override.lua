-- Has every process use other settings for a case than its own.
--
-- KEYS[1]  wiring    hash, what every process is to know
-- ARGV[1]  field     "override:<case>"
-- ARGV[2]  settings  JSON; empty for its own
-- Reply    nothing

if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
local clock = redis.call('TIME')
redis.call('HSET', KEYS[1], 'revision', clock[1] .. '.' .. clock[2])
return false
