-- Stores or removes the runtime override of a case.
--
-- KEYS[1]  shared      hash, the shared configuration
-- ARGV[1]  field       "override:<case>"
-- ARGV[2]  settings    JSON object of options; empty to remove the override
-- ARGV[3]  merge       1 to keep the options of an earlier override that are not in settings
-- ARGV[4]  note        JSON object that is stored for each option of settings, such as who set it
-- ARGV[5]  expires_in  seconds after which these options are removed; empty for never
-- Reply    nil

local shared, field, settings, merge, note = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local expires_in = tonumber(ARGV[5])
local stored = redis.call('HMGET', shared, field, 'next_expiry')
local is_read, override = pcall(cjson.decode, stored[1] or '{}')
if not (merge and is_read and type(override) == 'table') then
  override = {}
end
local next_expiry = tonumber(stored[2])

if settings == '' then
  redis.call('HDEL', shared, field)
else
  local notes = type(override.notes) == 'table' and override.notes or {}
  for option, value in pairs(cjson.decode(settings)) do
    override[option] = value
    notes[option] = cjson.decode(note)
    notes[option].at = now
    if expires_in then
      notes[option].expires_at = now + expires_in
      next_expiry = math.min(next_expiry or notes[option].expires_at, notes[option].expires_at)
    end
  end
  override.notes = notes
  redis.call('HSET', shared, field, cjson.encode(override))
  if next_expiry then
    redis.call('HSET', shared, 'next_expiry', string.format('%.6f', next_expiry))
  end
end
redis.call('HSET', shared, 'revision', clock[1] .. '.' .. clock[2])
return false
