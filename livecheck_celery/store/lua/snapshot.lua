-- Reads the shared configuration, if it changed.
--
-- KEYS[1]  shared    hash, the shared configuration
-- ARGV[1]  revision  of the caller's copy; "none" if it has no copy
-- Reply    nil if that revision is current; else {field, value, ...}

if (redis.call('HGET', KEYS[1], 'revision') or '') == ARGV[1] then
  return false
end
return redis.call('HGETALL', KEYS[1])
