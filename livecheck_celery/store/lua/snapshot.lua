-- Reads the shared configuration, if it changed; removes the overrides that have expired.
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
local fields, next_expiry, removed = redis.call('HGETALL', shared), nil, 0
for at = 1, #fields, 2 do
  if string.sub(fields[at], 1, 9) == 'override:' then
    -- A signature and a space precede the JSON object, if it is signed.
    local is_read, override = pcall(cjson.decode, string.match(fields[at + 1], '{.*') or '')
    local expires_at = is_read and type(override) == 'table' and tonumber(override.expires_at) or nil
    if expires_at and expires_at >= 1e12 or expires_at ~= expires_at then
      expires_at = nil
    end
    if expires_at and expires_at <= now then
      removed = removed + redis.call('HDEL', shared, fields[at])
    elseif expires_at then
      next_expiry = math.min(next_expiry or expires_at, expires_at)
    end
  end
end
if removed == 0 and not is_due then
  return fields
end
if next_expiry then
  redis.call('HSET', shared, 'next_expiry', string.format('%.6f', next_expiry))
else
  redis.call('HDEL', shared, 'next_expiry')
end
redis.call('HSET', shared, 'revision', clock[1] .. '.' .. clock[2])
return redis.call('HGETALL', shared)
