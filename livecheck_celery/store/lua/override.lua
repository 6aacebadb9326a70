-- Stores or removes the runtime override of a case.
--
-- KEYS[1]  shared    hash, the shared configuration
-- ARGV[1]  field     "override:<case>"
-- ARGV[2]  settings  JSON; empty to remove the override
-- Reply    nil

if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
local clock = redis.call('TIME')
redis.call('HSET', KEYS[1], 'revision', clock[1] .. '.' .. clock[2])
return false
