-- The bytes of the open executions of a case, and of their signals, are in the field open_bytes of its suite; those of
-- the signals of one execution are in the field signal_bytes of its record.

-- Reads such a number; what LiveCheck did not write counts as none.
local function bytes_in(key, field)
  return tonumber(string.match(redis.call('HGET', key, field) or '', '^%d+$') or 0)
end

-- Adds an execution to the open ones, or changes when the sweep should check it.
local function open_until(open, suite, test, time, id)
  local sum = bytes_in(suite, 'open_bytes') + redis.call('HSTRLEN', test, 'payload') + bytes_in(test, 'signal_bytes')
  if redis.call('ZADD', open, time, id) == 1 then
    redis.call('HSET', suite, 'open_bytes', sum)
  end
end

-- Adds the bytes of a signal to an open execution, or subtracts those of a longer one that it replaces.
local function add_to_open(suite, test, bytes)
  redis.call('HSET', test, 'signal_bytes', math.max(0, bytes_in(test, 'signal_bytes') + bytes))
  redis.call('HSET', suite, 'open_bytes', math.max(0, bytes_in(suite, 'open_bytes') + bytes))
end

-- Removes an execution from the open ones. If its record is gone, it counts with the mean of all, so that the sum is
-- right again when none is open.
local function remove_open(open, suite, test, id)
  local count, bytes = redis.call('ZCARD', open), bytes_in(suite, 'open_bytes')
  local own = redis.call('HSTRLEN', test, 'payload')
  if redis.call('ZREM', open, id) == 1 then
    own = own > 0 and own + bytes_in(test, 'signal_bytes') or math.ceil(bytes / count)
    redis.call('HSET', suite, 'open_bytes', count == 1 and 0 or math.max(0, bytes - own))
  end
end
