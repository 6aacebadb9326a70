-- Stores or removes the runtime overrides of a case. Each option is a field of its own, which no script edits: it can be
-- signed, by a field "signature:<field>".
--
-- KEYS[1]      shared      hash, the shared configuration
-- ARGV[1]      name        of the case
-- ARGV[2]      merge       1 to keep earlier overrides of other options
-- ARGV[3]      expires_at  time at which these overrides expire; empty for never
-- ARGV[4...]   overrides   "override:<option>:<case>", value, its signature or an empty string, and so on
-- Reply        nil

local shared, name, merge, expires_at = KEYS[1], ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])
local clock = redis.call('TIME')
local next_expiry = tonumber(redis.call('HGET', shared, 'next_expiry') or '')

if not merge then
  for _, field in ipairs(redis.call('HKEYS', shared)) do
    if string.match(field, '^override:[^:]*:(.*)$') == name then
      redis.call('HDEL', shared, field, 'signature:' .. field)
    end
  end
end
for at = 4, #ARGV, 3 do
  local signature_field = 'signature:' .. ARGV[at]
  redis.call('HDEL', shared, signature_field)
  redis.call('HSET', shared, ARGV[at], ARGV[at + 1])
  if ARGV[at + 2] ~= '' then
    redis.call('HSET', shared, signature_field, ARGV[at + 2])
  end
end
if expires_at then
  local is_first = not (next_expiry and next_expiry <= expires_at)
  redis.call('HSET', shared, 'next_expiry', string.format('%.6f', is_first and expires_at or next_expiry))
end
redis.call('HSET', shared, 'revision', clock[1] .. '.' .. clock[2])
return false
