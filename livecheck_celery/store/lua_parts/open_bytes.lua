-- The bytes of the open executions of a case are in the field open_bytes of its suite.

-- Reads them; what LiveCheck did not write counts as none.
local function open_bytes_of(suite)
  return tonumber(string.match(redis.call('HGET', suite, 'open_bytes') or '', '^%d+$') or 0)
end

-- Adds an execution to the open ones, or changes when the sweep should check it.
local function open_until(open, suite, time, id, bytes)
  local sum = open_bytes_of(suite) + bytes
  if redis.call('ZADD', open, time, id) == 1 then
    redis.call('HSET', suite, 'open_bytes', sum)
  end
end

-- Removes an execution from the open ones. If its record is gone, it counts with the mean of all, so that the sum is
-- right again when none is open.
local function remove_open(open, suite, test, id)
  local count, bytes = redis.call('ZCARD', open), open_bytes_of(suite)
  local own = redis.call('HSTRLEN', test, 'payload')
  if redis.call('ZREM', open, id) == 1 then
    own = own > 0 and own or math.ceil(bytes / count)
    redis.call('HSET', suite, 'open_bytes', count == 1 and 0 or math.max(0, bytes - own))
  end
end
