-- Registers a case: its settings for readers, its sources for every process.
--
-- KEYS[1]  cases     hash, case to settings
-- KEYS[2]  shared    hash, the shared configuration
-- ARGV[1]  name      of the case
-- ARGV[2]  settings  JSON
-- ARGV[3]  field     "sources:<case>"
-- ARGV[4]  sources   JSON; empty if the case has no sources
-- ARGV[5]  signature of the sources; empty if they are not signed
-- Reply    nil

local cases, shared = KEYS[1], KEYS[2]
local name, settings, field, sources, signature = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local signature_field = 'signature:' .. field
local clock = redis.call('TIME')
local now = clock[1] .. '.' .. clock[2]
redis.call('HEXISTS', cases, name)
local stored = redis.call('HMGET', shared, 'since', field, signature_field)
local is_first = not stored[1]
local is_changed = (stored[2] or '') ~= sources or (stored[3] or '') ~= signature

redis.call('HSET', cases, name, settings)
if is_first then
  -- A process that knows another "since" concludes that Redis lost its data.
  redis.call('HSET', shared, 'since', now)
end
if is_changed then
  redis.call('HDEL', shared, field, signature_field)
  if sources ~= '' then
    redis.call('HSET', shared, field, sources)
  end
  if signature ~= '' then
    redis.call('HSET', shared, signature_field, signature)
  end
end
if is_first or is_changed then
  redis.call('HSET', shared, 'revision', now)
end
return false
