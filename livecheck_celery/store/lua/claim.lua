-- Gives one process the right to run an execution: a lease with a fencing token. Starts the statistics.
--
-- KEYS[1]  test         hash, the execution
-- KEYS[2]  open         zset, executions without a verdict
-- KEYS[3]  signals      hash, signals of the execution and who listens for them
-- KEYS[4]  state        hash, the suite; "since" is when the first of its executions was recorded
-- KEYS[5]  frequency    list, seconds between tests
-- KEYS[6]  latency      list, seconds that tests came late
-- ARGV[1]  id
-- ARGV[2]  payload      the TestExecution as JSON, for a message that came without a record
-- ARGV[3]  token        of the claimer, unique to this claim
-- ARGV[4]  address      of the claimer's process; signals are published there
-- ARGV[5]  lease        seconds
-- ARGV[6]  active       1 or 0: whether the case runs tests
-- ARGV[7]  period       seconds there should be between tests, or nothing
-- ARGV[8]  max_history  longest list
-- ARGV[9]  expires_in   seconds until a test without a record expires
-- ARGV[10] keep         seconds the record outlives the expiry, while there is no verdict
-- ARGV[11] signal_ttl   seconds signals are kept at least
-- ARGV[12] recorded_at  when the execution was recorded, as the message says; nothing when it came without a record
-- ARGV[13] forget_after seconds for which the record outlives the verdict
-- Reply    {outcome, attempt, recorded_at, expires_at, {field, value, ...} of the signals hash, now}
--          outcome: run, expired, inactive (all three claimed); done, busy (not claimed, no signals)

local test, open, signals, state, frequency, latency = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, token = ARGV[1], ARGV[3]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function stamp(time)
  return string.format('%.6f', time)
end

local function live_at_least(key, ttl)
  if redis.call('TTL', key) < ttl then
    redis.call('EXPIRE', key, ttl)
  end
end

-- An execution that was recorded has a record until its verdict, and for a short time after it. So one that has none
-- got its verdict; unless that cannot be, as that time is not over yet, or everything from when it was recorded is lost.
local told_at = tonumber(ARGV[12])
if redis.call('EXISTS', test) == 0 then
  local since = redis.call('HGET', state, 'since')
  if told_at and since and told_at >= tonumber(since) and now - told_at >= tonumber(ARGV[13]) then
    return {'done', 0, stamp(told_at), stamp(told_at), {}, stamp(now)}
  end
  local expires_at = now + tonumber(ARGV[9])
  redis.call('HSET', test, 'payload', ARGV[2], 'recorded_at', stamp(told_at or now), 'expires_at', stamp(expires_at))
  redis.call('EXPIRE', test, math.max(1, math.ceil(expires_at - now + tonumber(ARGV[10]))))
  redis.call('HSETNX', state, 'since', stamp(now))
end

local record = redis.call('HMGET', test, 'verdict', 'token', 'lease_until', 'attempts', 'recorded_at', 'expires_at',
  'outcome', 'closing')
local recorded_at, expires_at = record[5], tonumber(record[6])
local attempts = tonumber(record[4] or 0)
-- The claimer asks again when the reply got lost. It gets the same answer, and nothing counts twice.
local again = record[2] == token
local outcome
if record[1] or (told_at and told_at < tonumber(recorded_at)) then
  -- There is a verdict; or there was one, and the id is used again.
  outcome = 'done'
elseif again then
  outcome = record[7]
elseif record[8] or tonumber(record[3] or 0) > now then
  outcome = 'busy'
elseif expires_at <= now then
  -- One that was lost by its worker and then expired is the sweep's to close as lost; "expired" would hide that.
  outcome = attempts > 0 and 'busy' or 'expired'
elseif ARGV[6] == '0' then
  outcome = 'inactive'
else
  outcome = 'run'
end
if outcome == 'done' or outcome == 'busy' then
  return {outcome, attempts, recorded_at, record[6], {}, stamp(now)}
end

if not again then
  attempts = attempts + 1
end
local lease_until = now + tonumber(ARGV[5])
redis.call('HSET', test, 'token', token, 'lease_until', stamp(lease_until), 'attempts', attempts, 'outcome', outcome)
redis.call('ZADD', open, stamp(math.min(lease_until, expires_at)), id)
live_at_least(open, math.max(1, math.ceil(expires_at - now + tonumber(ARGV[10]))))

-- Registered and read in one step, so a signal is either in this reply or published to the address.
redis.call('HSET', signals, '>' .. ARGV[4], 1)
live_at_least(signals, math.max(tonumber(ARGV[11]), math.ceil(expires_at - now)))

-- A second attempt at the same execution is not a second test.
if outcome == 'run' and redis.call('HSETNX', test, 'started', 1) == 1 then
  local previous = redis.call('HGET', state, 'received_at')
  if previous then
    local gap = now - tonumber(previous)
    redis.call('RPUSH', frequency, stamp(gap))
    redis.call('LTRIM', frequency, -tonumber(ARGV[8]), -1)
    if ARGV[7] ~= '' then
      redis.call('RPUSH', latency, stamp(gap - tonumber(ARGV[7])))
      redis.call('LTRIM', latency, -tonumber(ARGV[8]), -1)
    end
  end
  redis.call('HSET', state, 'received_at', stamp(now), 'last_test_received', stamp(now))
end
return {outcome, attempts, recorded_at, record[6], redis.call('HGETALL', signals), stamp(now)}
