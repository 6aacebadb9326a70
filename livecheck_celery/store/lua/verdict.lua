-- Records the verdict of an execution, and updates the suite.
--
-- KEYS[1]  test             hash, the execution
-- KEYS[2]  open             zset, executions without a verdict
-- KEYS[3]  signals          hash, signals of the execution, and the processes that listen for them
-- KEYS[4]  suite            hash, the suite
-- KEYS[5]  runtime_history  list, seconds that passing tests took
-- KEYS[6]  reports          stream
-- ARGV[1]  id               of the execution
-- ARGV[2]  token            fencing token of the claim
-- ARGV[3]  address          of the claimer's process
-- ARGV[4]  verdict          PASS, FAIL, ERROR, TIMEOUT or SKIP
-- ARGV[5]  runtime          seconds, or empty
-- ARGV[6]  max_history      maximum length of the list
-- ARGV[7]  delay            seconds after a failure of the suite in which a pass does not change its status
-- ARGV[8]  report           the TestReport as a JSON object without "at"; empty if reports are not kept
-- ARGV[9]  max_reports      maximum length of the stream
-- ARGV[10] forget_after     seconds for which the record and the signals are kept from now on
-- ARGV[11] remember         seconds for which the record is kept if a claim created it, or that of an earlier execution
-- Reply    {accepted 1 or 0, at, consecutive_failures, status}

local test, open, signals, suite, runtime_history, reports = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, token, listener, verdict, runtime = ARGV[1], ARGV[2], '>' .. ARGV[3], ARGV[4], ARGV[5]
local max_history, delay, report, max_reports = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9]
local forget_after, remember = tonumber(ARGV[10]), tonumber(ARGV[11])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
local record = redis.call('HMGET', test, 'token', 'verdict_token', 'verdict_reply', 'recorded_at', 'expires_at',
  'not_before', 'by_message')
local held_by, judged_by, recorded_at, expires_at = record[1], record[2], record[4], record[5]
-- Only a trigger sets not_before.
local by_message = record[7] or not record[6]

if judged_by == token then
  -- The runner repeats a verdict whose reply was lost: the reply is the same, and nothing counts twice.
  return cjson.decode(record[3])
end
local stored = redis.call('HMGET', suite, 'consecutive_failures', 'status', 'last_fail', 'total_failures',
  'total:' .. verdict)
local consecutive_failures, status = tonumber(stored[1] or 0), stored[2] or 'INIT'
if held_by ~= token then
  return {0, at, consecutive_failures, status}
end

local changes = {'total:' .. verdict, tonumber(stored[5] or 0) + 1}
local function change(field, value)
  table.insert(changes, field)
  table.insert(changes, value)
end
if verdict == 'PASS' then
  consecutive_failures = 0
  if not stored[3] or now - tonumber(stored[3]) > delay then
    status = verdict
    change('status', status)
  end
  change('consecutive_failures', 0)
elseif verdict ~= 'SKIP' then
  consecutive_failures, status = consecutive_failures + 1, verdict
  change('status', status)
  change('consecutive_failures', consecutive_failures)
  change('total_failures', tonumber(stored[4] or 0) + 1)
end
local reply = {1, at, consecutive_failures, status}
-- Other tests can wait for signals of this one.
local is_awaited = false
for _, field in ipairs(redis.call('HKEYS', signals)) do
  is_awaited = is_awaited or (string.sub(field, 1, 1) == '>' and field ~= listener)
end
local expire_signals = not is_awaited and redis.call('TTL', signals) > forget_after

-- Every key is read before the first write, so that a key of another type changes nothing.
redis.call('ZSCORE', open, id)
redis.call('LRANGE', runtime_history, 0, 0)
local kind = redis.call('TYPE', reports).ok
if kind ~= 'none' and kind ~= 'stream' then
  return redis.error_reply('WRONGTYPE ' .. reports .. ' holds a ' .. kind .. ', not a stream')
end

for at_field = 1, #changes, 2 do
  redis.call('HSET', suite, changes[at_field], changes[at_field + 1])
end
if verdict == 'PASS' and runtime ~= '' then
  redis.call('RPUSH', runtime_history, runtime)
  redis.call('LTRIM', runtime_history, -max_history, -1)
end
redis.call('ZREM', open, id)
redis.call('HDEL', signals, listener)
if expire_signals then
  redis.call('EXPIRE', signals, forget_after)
end
if report ~= '' then
  -- Spliced in, because decoding and encoding in Lua would turn empty lists into empty objects.
  redis.call('XADD', reports, 'MAXLEN', max_reports, '*', 'report', string.sub(report, 1, -2) .. ',"at":' .. at .. '}')
end
-- The record stays for a runner that did not receive this reply, and for a message that is delivered twice. A later
-- message is recognized by its recorded_at; the message of an execution that a claim recorded has none.
redis.call('DEL', test)
redis.call('HSET', test, 'recorded_at', recorded_at, 'expires_at', expires_at, 'verdict', verdict,
  'verdict_token', token, 'verdict_reply', cjson.encode(reply))
if by_message then
  redis.call('HSET', test, 'by_message', 1)
end
redis.call('EXPIRE', test, by_message and remember or forget_after)
return reply
