-- Reads keys, and the time, as of one moment.
--
-- KEYS     any of one slot: strings, hashes, lists
-- Reply    {now, what the first key holds, and so on}; of a hash {field, value, ...}

local clock = redis.call('TIME')
local found = {string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)}
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
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
