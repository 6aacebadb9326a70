-- Writes down a requested execution, before the message that asks for it is sent.
--
-- KEYS[1]  test          hash, the execution
-- KEYS[2]  open          zset, executions without a verdict
-- KEYS[3]  signals       hash, signals of the execution
-- KEYS[4]  state         hash, the suite; "since" is when the first of its executions was recorded
-- ARGV[1]  id
-- ARGV[2]  payload       the TestExecution as JSON
-- ARGV[3]  expires_in    seconds it may be run in, counted from the end of the delay
-- ARGV[4]  delay         seconds before it is to be run
-- ARGV[5]  resend_after  seconds until the sweep sends again what nobody claimed
-- ARGV[6]  keep          seconds the record outlives the expiry, while there is no verdict
-- ARGV[7]  max_open      most executions without a verdict
-- Reply    recorded_at; or why nothing was changed: "duplicate", an execution of this id has no verdict yet;
--          "backlog", max_open is reached

local test, open, signals, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local not_before = now + tonumber(ARGV[4])
local expires_at = not_before + tonumber(ARGV[3])
local ttl = math.max(1, math.ceil(expires_at - now + tonumber(ARGV[6])))

local function stamp(time)
  return string.format('%.6f', time)
end

local used = redis.call('EXISTS', test) == 1
if used and redis.call('HEXISTS', test, 'verdict') == 0 then
  return 'duplicate'
end
if redis.call('ZCARD', open) >= tonumber(ARGV[7]) then
  return 'backlog'
end
if used then
  -- The id is used again. What the finished execution was told is not for the new one.
  redis.call('DEL', test, signals)
end

redis.call('HSET', test, 'payload', ARGV[2], 'recorded_at', stamp(now), 'not_before', stamp(not_before),
  'expires_at', stamp(expires_at))
redis.call('EXPIRE', test, ttl)
-- Signals may overtake the trigger, and are kept for a short time unless it comes.
if redis.call('TTL', signals) < expires_at - now then
  redis.call('EXPIRE', signals, math.max(1, math.ceil(expires_at - now)))
end
-- A test that expires before a re-send is due is looked at when it expires.
redis.call('ZADD', open, stamp(math.min(not_before + tonumber(ARGV[5]), expires_at)), ARGV[1])
if redis.call('TTL', open) < ttl then
  redis.call('EXPIRE', open, ttl)
end
redis.call('HSETNX', state, 'since', stamp(now))
return stamp(now)
