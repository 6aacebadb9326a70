-- Reads what every process is to know, if that changed.
--
-- KEYS[1]  wiring    hash, what every process is to know
-- ARGV[1]  revision  the one that the caller has; "none" for none
-- Reply    nil when that is still current; else the fields and values, one after the other

if (redis.call('HGET', KEYS[1], 'revision') or '') == ARGV[1] then
  return false
end
return redis.call('HGETALL', KEYS[1])
