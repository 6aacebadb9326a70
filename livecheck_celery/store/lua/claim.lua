-- Claims an execution for one process: a lease with a fencing token. The first claim updates the statistics.
--
-- KEYS[1]  test          hash, the execution
-- KEYS[2]  open          zset, executions without a verdict
-- KEYS[3]  signals       hash, signals of the execution, and the processes that listen for them
-- KEYS[4]  suite         hash, the suite; "since" is when the first of its executions was recorded
-- KEYS[5]  frequency     list, seconds between tests
-- KEYS[6]  latency       list, seconds by which tests came later than the period
-- ARGV[1]  id            of the execution
-- ARGV[2]  payload       the TestExecution as JSON; stored if the execution has no record
-- ARGV[3]  token         fencing token of the claimer, unique to this claim
-- ARGV[4]  address       of the claimer's process; signals are published there
-- ARGV[5]  lease         seconds
-- ARGV[6]  active        1 if the case runs tests, else 0
-- ARGV[7]  period        expected seconds between tests, or empty
-- ARGV[8]  max_history   maximum length of the lists
-- ARGV[9]  expires_in    seconds until an execution without a record expires
-- ARGV[10] keep          seconds the record outlives the expiry, while there is no verdict
-- ARGV[11] signal_ttl    minimum seconds for which signals are kept
-- ARGV[12] recorded_at   when the execution was recorded, according to its message; empty if it was not recorded
-- ARGV[13] forget_after  seconds for which the record outlives the verdict
-- ARGV[14] layout        newest version of the layout of records that the claimer can read
-- ARGV[15] use           identifies this use of the id, according to the message
-- ARGV[16] limits        JSON, signal to the number of times it can arrive; empty without any
-- Reply    {outcome, attempt, recorded_at, expires_at, {field, value, ...} of the signals hash, now, use of the record}
--          outcome: run, expired, inactive (claimed); done, busy (not claimed, no signals); a record of a newer layout
--          is busy

-- include number
-- include open_bytes
-- include uses
local test, open, signals, suite, frequency, latency = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, payload, token, listener = ARGV[1], ARGV[2], ARGV[3], '>' .. ARGV[4]
local lease, active, period, max_history = tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[8])
local expires_in, keep, signal_ttl = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local sent_recorded_at, forget_after, use, limits = tonumber(ARGV[12]), tonumber(ARGV[13]), ARGV[15], ARGV[16]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function stamp(time)
  return string.format('%.6f', time)
end

local function expire_at_least(key, ttl)
  if redis.call('TTL', key) < ttl then
    redis.call('EXPIRE', key, ttl)
  end
end

local record = redis.call('HMGET', test, 'verdict', 'token', 'lease_until', 'attempts', 'recorded_at', 'expires_at',
  'outcome', 'closing', 'started', 'layout', 'use', 'nonce')
local verdict, held_by, lease_until, attempts = record[1], record[2], tonumber(record[3] or 0), tonumber(record[4] or 0)
local recorded_at, expires_at = record[5], record[6]
local stored = redis.call('HMGET', suite, 'since', 'received_at', 'claimed_up_to')
local since, received_at, claimed_up_to = number(stored[1]), number(stored[2]), number(stored[3]) or 0

-- A message of a chain that is delivered again was built at another time than the record.
use = recorded_use(record[11], record[12]) or use

local is_new = not recorded_at
if is_new then
  -- A recorded execution keeps its record until the verdict and for forget_after seconds more. Without a record it
  -- therefore has a verdict, unless it is younger than that, or Redis lost everything since it was recorded.
  if sent_recorded_at and since and sent_recorded_at >= since and now - sent_recorded_at >= forget_after then
    return {'done', 0, stamp(sent_recorded_at), stamp(sent_recorded_at), {}, stamp(now), use}
  end
  recorded_at, expires_at = stamp(sent_recorded_at or now), stamp(now + expires_in)
end
local expiry = tonumber(expires_at)

-- The claimer repeats a claim whose reply was lost: the reply is the same, and nothing counts twice.
local is_repeated = held_by == token
local is_newer = tonumber(record[10] or 0) > tonumber(ARGV[14])
local outcome
if verdict or (sent_recorded_at and sent_recorded_at < tonumber(recorded_at)) then
  -- The execution has a verdict, or its id was used again after the verdict.
  outcome = 'done'
elseif is_repeated then
  outcome = record[7]
elseif record[8] or lease_until > now or is_newer then
  outcome = 'busy'
elseif expiry <= now then
  -- If a worker died before the expiry, the sweep closes the execution as lost; "expired" would hide the reason.
  outcome = attempts > 0 and 'busy' or 'expired'
elseif not active then
  outcome = 'inactive'
else
  outcome = 'run'
end
if outcome == 'busy' and lease_until > now and not (record[8] or is_newer) then
  -- The sweep had sent this message while the lease had lapsed, and it is gone: if the holder dies, there is no other.
  redis.call('HSET', test, 'taken', 1)
end
if outcome == 'done' or outcome == 'busy' then
  return {outcome, attempts, recorded_at, expires_at, {}, stamp(now), use}
end

-- Every key is read before the first write, so that a key of another type changes nothing.
redis.call('ZSCORE', open, id)
local arrived = redis.call('HGETALL', signals)
-- Messages are delivered in order: one that was sent much earlier, and has not been delivered, is lost.
local is_newest = tonumber(recorded_at) > claimed_up_to or claimed_up_to > now + 86400
-- A second attempt at an execution is not a second test.
local is_first = outcome == 'run' and not record[9]
if is_first and received_at then
  redis.call('LRANGE', frequency, 0, 0)
  redis.call('LRANGE', latency, 0, 0)
end

if not is_repeated then
  attempts = attempts + 1
end
if is_new then
  local seconds, nonce = parts_of(use)
  redis.call('HSET', test, 'payload', payload, 'recorded_at', recorded_at, 'expires_at', expires_at,
    'layout', ARGV[14], 'use', seconds, 'nonce', nonce)
  redis.call('EXPIRE', test, math.max(1, math.ceil(expiry - now + keep)))
  redis.call('HSETNX', suite, 'since', stamp(now))
end
redis.call('HSET', test, 'token', token, 'lease_until', stamp(now + lease), 'attempts', attempts, 'outcome', outcome,
  'taken', 1)
if is_newest then
  redis.call('HSET', suite, 'claimed_up_to', recorded_at)
end
if limits ~= '' then
  redis.call('HSET', test, 'limits', limits)
end
open_until(open, suite, test, stamp(math.min(now + lease, expiry)), id)
expire_at_least(open, math.max(1, math.ceil(expiry - now + keep)))

-- Registered and read in one step: a signal is either in this reply or published to the address.
-- The verdict ends the registrations of claims, also of those whose worker died; not those of other tests.
redis.call('HSETNX', signals, listener, 'claim')
expire_at_least(signals, math.max(signal_ttl, math.ceil(expiry - now)))

if is_first then
  redis.call('HSET', test, 'started', 1)
  if received_at then
    redis.call('RPUSH', frequency, stamp(now - received_at))
    redis.call('LTRIM', frequency, -max_history, -1)
    if period then
      -- Real tests can come between two fake requests: a test that is early is not late.
      redis.call('RPUSH', latency, stamp(math.max(0, now - received_at - period)))
      redis.call('LTRIM', latency, -max_history, -1)
    end
  end
  redis.call('HSET', suite, 'received_at', stamp(now), 'last_test_received', stamp(now))
end
return {outcome, attempts, recorded_at, expires_at, arrived, stamp(now), use}
