-- Stores a signal, then publishes it to the processes that listen.
--
-- KEYS[1]  signals       hash, signals of a test, and the processes that listen for them
-- KEYS[2]  test          hash, the execution
-- ARGV[1]  name          of the signal
-- ARGV[2]  event         the SignalEvent as a JSON object without "received_at"
-- ARGV[3]  ttl           minimum seconds for which the signal is kept, unless the execution has its verdict
-- ARGV[4]  inbox         prefix of the pub/sub channels of processes
-- ARGV[5]  forget_after  minimum seconds for which the signal is kept if the execution has its verdict
-- Reply    received_at

local signals, test, name, ttl, inbox, forget_after = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[3]), ARGV[4],
  tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local received_at = string.format('%.6f', now)
local event = string.sub(ARGV[2], 1, -2) .. ',"received_at":' .. received_at .. '}'

local record = redis.call('HMGET', test, 'verdict', 'expires_at')
if record[1] then
  ttl = forget_after
elseif record[2] then
  ttl = math.max(ttl, math.ceil(tonumber(record[2]) - now))
end
local fields = redis.call('HKEYS', signals)

redis.call('HSET', signals, name, event)
if redis.call('TTL', signals) < ttl then
  redis.call('EXPIRE', signals, ttl)
end
for _, field in ipairs(fields) do
  if string.sub(field, 1, 1) == '>' then
    redis.call('PUBLISH', inbox .. string.sub(field, 2), event)
  end
end
return received_at
