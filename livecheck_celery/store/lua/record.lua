-- Records a requested execution, before its message is sent.
--
-- KEYS[1]  test          hash, the execution
-- KEYS[2]  open          zset, executions without a verdict
-- KEYS[3]  signals       hash, signals of the execution
-- KEYS[4]  suite         hash, the suite; "since" is when the first of its executions was recorded; "rate" and
--                        "rate:synthetic" are when the next one would come if they came evenly
-- KEYS[5]  unrecorded        zset, ids with signals but without a record
-- KEYS[6]  unrecorded_bytes  hash, id to the bytes of its signals; in "", their sum
-- ARGV[1]  id            of the execution
-- ARGV[2]  payload       the TestExecution as JSON
-- ARGV[3]  expires_in    seconds in which it can run, counted from the end of the delay
-- ARGV[4]  delay         seconds before it can run
-- ARGV[5]  resend_after  seconds until the sweep re-sends the message of an unclaimed execution
-- ARGV[6]  keep          seconds the record outlives the expiry, while there is no verdict
-- ARGV[7]  max_open      maximum number of executions without a verdict
-- ARGV[8]  layout        version of the layout of the record
-- ARGV[9]  use           identifies this use of the id
-- ARGV[10] max_open_bytes  maximum bytes of their payloads and signals
-- ARGV[11] max_rate      executions per second; empty for no limit
-- ARGV[12] burst         seconds for which they can come all at once
-- ARGV[13] synthetic     1 if a fake request caused it: these have a rate of their own, and can be
--                        twice as many
-- Reply    recorded_at, also if this call is repeated; or a refusal: "duplicate", an execution with this id has no
--          verdict yet; "backlog", max_open or max_open_bytes is reached; "rate", max_rate is

-- include number
-- include open_bytes
-- include uses
local test, open, signals, suite = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local unrecorded, unrecorded_bytes = KEYS[5], KEYS[6]
local id, payload, expires_in, delay = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local resend_after, keep, max_open, use = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[9]
local max_open_bytes, max_rate, burst = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local synthetic = ARGV[13] == '1'
local rate = synthetic and 'rate:synthetic' or 'rate'
if synthetic then
  -- Others cannot use up what fake requests need.
  max_open, max_open_bytes = max_open * 2, max_open_bytes * 2
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local not_before = now + delay
local expires_at = not_before + expires_in
local ttl = math.max(1, math.ceil(expires_at - now + keep))

local function stamp(time)
  return string.format('%.6f', time)
end

local is_reused = redis.call('EXISTS', test) == 1
local earlier = redis.call('HMGET', test, 'verdict', 'use', 'recorded_at', 'by_message', 'nonce')
local by_message = earlier[4]
if recorded_use(earlier[2], earlier[5]) == use then
  -- The caller repeats a call whose reply was lost.
  return earlier[3]
end
if is_reused and not earlier[1] then
  return 'duplicate'
end
local stored = redis.call('HMGET', suite, 'since', 'open_bytes', rate)
local open_count, open_bytes = redis.call('ZCARD', open), number(stored[2]) or 0
if open_count >= max_open or (open_count > 0 and open_bytes + #payload > max_open_bytes) then
  return 'backlog'
end
-- The generic cell rate algorithm. A time further in the future than a burst is that of a clock that was set back.
local next_at
if max_rate then
  burst = math.max(burst, 1 / max_rate)
  next_at = number(stored[3]) or 0
  next_at = (next_at > now + burst + 1 and now or math.max(now, next_at)) + 1 / max_rate
  if next_at - now > burst + 0.000001 then
    return 'rate'
  end
end
local is_unrecorded = redis.call('ZSCORE', unrecorded, id)
local bytes = redis.call('HMGET', unrecorded_bytes, id, '')
local other_bytes = math.max(0, (number(bytes[2]) or 0) - (number(bytes[1]) or 0))

-- Signals can arrive before the trigger. Those of another use of the id do not count for this one. Where the sender did
-- not know the use, those count that were kept for the next one.
local gone, taken = {}, {}
for _, counted in ipairs(redis.call('HKEYS', signals)) do
  local field = string.match(counted, '^%+(.*)')
  local sent_in = string.match(field and redis.call('HGET', signals, counted) or '', '^%d+ %S+ (%S+)')
  if sent_in then
    local name = string.match(field, '^~%S+ (.*)')
    local is_of_use = is_same_use(sent_in, use)
    local is_own = is_of_use or (sent_in == '-' and (name or not is_reused))
    if name and is_own and (is_of_use or not taken[name]) then
      taken[name] = field
    end
    if name or not is_own then
      table.insert(gone, field)
    end
  elseif is_reused and not string.match(counted, '^[>+]') and redis.call('HEXISTS', signals, '+' .. counted) == 0 then
    table.insert(gone, counted)
  end
end

for name, field in pairs(taken) do
  redis.call('HSET', signals, name, redis.call('HGET', signals, field),
    '+' .. name, redis.call('HGET', signals, '+' .. field))
end
for _, field in ipairs(gone) do
  if not taken[field] then
    redis.call('HDEL', signals, field, '+' .. field)
  end
end
if is_unrecorded then
  redis.call('ZREM', unrecorded, id)
  redis.call('HDEL', unrecorded_bytes, id)
  redis.call('HSET', unrecorded_bytes, '', other_bytes)
end
if is_reused then
  redis.call('DEL', test)
end
local seconds, nonce = parts_of(use)
redis.call('HSET', test, 'payload', payload, 'recorded_at', stamp(now), 'not_before', stamp(not_before),
  'expires_at', stamp(expires_at), 'layout', ARGV[8], 'use', seconds, 'nonce', nonce)
if synthetic then
  redis.call('HSET', test, 'synthetic', 1)
end
if is_unrecorded and number(bytes[1]) then
  redis.call('HSET', test, 'signal_bytes', number(bytes[1]))
end
if by_message then
  -- A claim recorded an earlier execution of this id; its message can still be delivered again.
  redis.call('HSET', test, 'by_message', by_message)
end
redis.call('EXPIRE', test, ttl)
-- Signals that arrived before the trigger were kept for a short time only.
if redis.call('TTL', signals) < expires_at - now then
  redis.call('EXPIRE', signals, math.max(1, math.ceil(expires_at - now)))
end
-- The sweep checks an execution that expires before a resend is due when it expires.
if open_count == 0 then
  redis.call('HSET', suite, 'open_bytes', 0)
end
open_until(open, suite, test, stamp(math.min(not_before + resend_after, expires_at)), id)
if redis.call('TTL', open) < ttl then
  redis.call('EXPIRE', open, ttl)
end
if next_at then
  redis.call('HSET', suite, rate, stamp(next_at))
end
if not stored[1] then
  redis.call('HSET', suite, 'since', stamp(now))
end
return stamp(now)
