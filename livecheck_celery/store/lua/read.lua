-- Reads keys and the time, in one step.
--
-- KEYS[...]  stored  strings, hashes and lists, all in one cluster slot
-- Reply      {now, type of the first key, its value, type of the second key, its value, ...}; of a hash {field, value,
--            ...}, of a key that does not exist, or has another type, {}

local clock = redis.call('TIME')
local found = {string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)}
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  table.insert(found, kind)
  if kind == 'hash' then
    table.insert(found, redis.call('HGETALL', key))
  elseif kind == 'list' then
    table.insert(found, redis.call('LRANGE', key, 0, -1))
  elseif kind == 'string' then
    table.insert(found, redis.call('GET', key))
  else
    table.insert(found, {})
  end
end
return found
