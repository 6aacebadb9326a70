-- Reads the shared configuration, if it changed, without the overrides that have expired; removes those, if the caller's
-- user may write.
--
-- KEYS[1]  shared    hash, the shared configuration
-- ARGV[1]  revision  of the caller's copy; "none" if it has no copy
-- Reply    nil if that revision is current; else {field, value, ...}

local shared = KEYS[1]
local stored = redis.call('HMGET', shared, 'revision', 'next_expiry')
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local is_due = stored[2] and (tonumber(stored[2]) or now) <= now
if not is_due and (stored[1] or '') == ARGV[1] then
  return false
end

-- Overrides are removed, but not edited, since they can be signed.
local fields, live, expired, next_expiry = redis.call('HGETALL', shared), {}, {}, nil
for at = 1, #fields, 2 do
  local is_expired = false
  if string.sub(fields[at], 1, 9) == 'override:' then
    local is_read, override = pcall(cjson.decode, fields[at + 1])
    local expires_at = is_read and type(override) == 'table' and tonumber(override.expires_at) or nil
    if expires_at and expires_at >= 1e12 or expires_at ~= expires_at then
      expires_at = nil
    end
    is_expired = expires_at and expires_at <= now
    if expires_at and not is_expired then
      next_expiry = math.min(next_expiry or expires_at, expires_at)
    end
  end
  if is_expired then
    table.insert(expired, fields[at])
  else
    table.insert(live, fields[at])
    table.insert(live, fields[at + 1])
  end
end
if #expired == 0 and not is_due then
  return live
end
if type(redis.pcall('HSET', shared, 'revision', clock[1] .. '.' .. clock[2])) == 'table' then
  return live -- refused: the user may only read
end
for _, field in ipairs(expired) do
  redis.call('HDEL', shared, field, 'signature:' .. field)
end
if next_expiry then
  redis.call('HSET', shared, 'next_expiry', string.format('%.6f', next_expiry))
else
  redis.call('HDEL', shared, 'next_expiry')
end
return redis.call('HGETALL', shared)
