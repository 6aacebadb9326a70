-- Stores a signal, then announces it to the processes that listen.
--
-- KEYS[1]  signals  hash, signals of a test and who listens for them
-- ARGV[1]  name     of the signal
-- ARGV[2]  event    the SignalEvent as a JSON object without "received_at"
-- ARGV[3]  ttl      seconds it is kept at least
-- ARGV[4]  inbox    what the channels of processes begin with
-- Reply    received_at

local clock = redis.call('TIME')
local received_at = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000)
local event = string.sub(ARGV[2], 1, -2) .. ',"received_at":' .. received_at .. '}'

redis.call('HSET', KEYS[1], ARGV[1], event)
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 1) == '>' then
    redis.call('PUBLISH', ARGV[4] .. string.sub(field, 2), event)
  end
end
return received_at
