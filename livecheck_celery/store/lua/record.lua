-- Records a requested execution, before its message is sent.
--
-- KEYS[1]  test          hash, the execution
-- KEYS[2]  open          zset, executions without a verdict
-- KEYS[3]  signals       hash, signals of the execution
-- KEYS[4]  suite         hash, the suite; "since" is when the first of its executions was recorded
-- ARGV[1]  id            of the execution
-- ARGV[2]  payload       the TestExecution as JSON
-- ARGV[3]  expires_in    seconds in which it can run, counted from the end of the delay
-- ARGV[4]  delay         seconds before it can run
-- ARGV[5]  resend_after  seconds until the sweep re-sends the message of an unclaimed execution
-- ARGV[6]  keep          seconds the record outlives the expiry, while there is no verdict
-- ARGV[7]  max_open      maximum number of executions without a verdict
-- ARGV[8]  layout        version of the layout of the record
-- Reply    recorded_at; or a refusal: "duplicate", an execution with this id has no verdict yet; "backlog", max_open
--          is reached

local test, open, signals, suite = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, payload, expires_in, delay = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local resend_after, keep, max_open = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local not_before = now + delay
local expires_at = not_before + expires_in
local ttl = math.max(1, math.ceil(expires_at - now + keep))

local function stamp(time)
  return string.format('%.6f', time)
end

local is_reused = redis.call('EXISTS', test) == 1
if is_reused and redis.call('HEXISTS', test, 'verdict') == 0 then
  -- The caller repeats a call whose reply was lost: the payload has the time of the trigger.
  local stored = redis.call('HMGET', test, 'payload', 'recorded_at')
  return stored[1] == payload and stored[2] or 'duplicate'
end
if redis.call('ZCARD', open) >= max_open then
  return 'backlog'
end
local has_since = redis.call('HEXISTS', suite, 'since') == 1
local by_message = redis.call('HGET', test, 'by_message')

if is_reused then
  -- The new execution must not see the signals of the finished one.
  redis.call('DEL', test, signals)
end
redis.call('HSET', test, 'payload', payload, 'recorded_at', stamp(now), 'not_before', stamp(not_before),
  'expires_at', stamp(expires_at), 'layout', ARGV[8])
if by_message then
  -- A claim recorded an earlier execution of this id; its message can still be delivered again.
  redis.call('HSET', test, 'by_message', by_message)
end
redis.call('EXPIRE', test, ttl)
-- Signals can arrive before the trigger, and are then kept for a short time only.
if redis.call('TTL', signals) < expires_at - now then
  redis.call('EXPIRE', signals, math.max(1, math.ceil(expires_at - now)))
end
-- The sweep checks an execution that expires before a resend is due when it expires.
redis.call('ZADD', open, stamp(math.min(not_before + resend_after, expires_at)), id)
if redis.call('TTL', open) < ttl then
  redis.call('EXPIRE', open, ttl)
end
if not has_since then
  redis.call('HSET', suite, 'since', stamp(now))
end
return stamp(now)
