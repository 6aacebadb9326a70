-- Stores a signal, then announces it to the processes that listen.
--
-- KEYS[1]  signals       hash, signals of a test and who listens for them
-- KEYS[2]  test          hash, the execution
-- ARGV[1]  name          of the signal
-- ARGV[2]  event         the SignalEvent as a JSON object without "received_at"
-- ARGV[3]  ttl           seconds it is kept at least, unless the execution has its verdict
-- ARGV[4]  inbox         what the channels of processes begin with
-- ARGV[5]  forget_after  seconds it is kept if the execution has its verdict
-- Reply    received_at

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local received_at = string.format('%.6f', now)
local event = string.sub(ARGV[2], 1, -2) .. ',"received_at":' .. received_at .. '}'

local record = redis.call('HMGET', KEYS[2], 'verdict', 'expires_at')
local ttl = tonumber(ARGV[3])
if record[1] then
  ttl = tonumber(ARGV[5])
elseif record[2] then
  ttl = math.max(ttl, math.ceil(tonumber(record[2]) - now))
end
redis.call('HSET', KEYS[1], ARGV[1], event)
if redis.call('TTL', KEYS[1]) < ttl then
  redis.call('EXPIRE', KEYS[1], ttl)
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 1) == '>' then
    redis.call('PUBLISH', ARGV[4] .. string.sub(field, 2), event)
  end
end
return received_at
