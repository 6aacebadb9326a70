-- Removes a case from the registry and from the shared configuration.
--
-- KEYS[1]  cases   hash, case to settings
-- KEYS[2]  shared  hash, the shared configuration
-- ARGV[1]  name    of the case
-- Reply    1 it was registered; 0 it was not

local cases, shared, name = KEYS[1], KEYS[2], ARGV[1]
local clock = redis.call('TIME')
redis.call('HEXISTS', shared, 'revision')

local removed = redis.call('HDEL', cases, name)
local changed = redis.call('HDEL', shared, 'sources:' .. name, 'signature:sources:' .. name)
for _, field in ipairs(redis.call('HKEYS', shared)) do
  if string.match(field, '^override:[^:]*:(.*)$') == name then
    changed = changed + redis.call('HDEL', shared, field, 'signature:' .. field)
  end
end
if changed > 0 then
  redis.call('HSET', shared, 'revision', clock[1] .. '.' .. clock[2])
end
return removed
