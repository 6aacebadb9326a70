-- Registers a case: its settings for readers, its sources for every process.
--
-- KEYS[1]  cases     hash, case to settings
-- KEYS[2]  shared    hash, the shared configuration
-- ARGV[1]  name      of the case
-- ARGV[2]  settings  JSON
-- ARGV[3]  field     "sources:<case>"
-- ARGV[4]  sources   JSON; empty if the case has no sources
-- Reply    nil

local cases, shared, name, settings, field, sources = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local clock = redis.call('TIME')
local now = clock[1] .. '.' .. clock[2]
redis.call('HEXISTS', cases, name)
local stored = redis.call('HMGET', shared, 'since', field)
local is_first, is_changed = not stored[1], (stored[2] or '') ~= sources

redis.call('HSET', cases, name, settings)
if is_first then
  -- A process that knows another "since" concludes that Redis lost its data.
  redis.call('HSET', shared, 'since', now)
end
if is_changed then
  if sources == '' then
    redis.call('HDEL', shared, field)
  else
    redis.call('HSET', shared, field, sources)
  end
end
if is_first or is_changed then
  redis.call('HSET', shared, 'revision', now)
end
return false
