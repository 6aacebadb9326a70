-- Records the one verdict of an execution, and what it means for the suite.
--
-- KEYS[1]  test         hash, the execution
-- KEYS[2]  open         zset, executions without a verdict
-- KEYS[3]  signals      hash, signals of the execution and who listens for them
-- KEYS[4]  state        hash, the suite
-- KEYS[5]  runtime      list, seconds that passing tests took
-- KEYS[6]  reports      stream
-- ARGV[1]  id
-- ARGV[2]  token        of the claim
-- ARGV[3]  address      of the claimer's process
-- ARGV[4]  verdict      PASS, FAIL, ERROR, TIMEOUT or SKIP
-- ARGV[5]  runtime      seconds, or nothing
-- ARGV[6]  max_history  longest list
-- ARGV[7]  delay        seconds after a failure of the suite in which a pass does not mend its status
-- ARGV[8]  report       the TestReport as a JSON object without "at"; nothing when reports are not kept
-- ARGV[9]  max_reports  longest stream
-- ARGV[10] forget_after seconds for which the record and the signals are kept from now on
-- ARGV[11] remember     seconds for which the record is kept if it was made by a claim
-- Reply    {accepted 1 or 0, at, consecutive_failures, status}

local test, open, signals, state, runtime, reports = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local verdict = ARGV[4]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
local record = redis.call('HMGET', test, 'token', 'verdict_token', 'verdict_reply', 'recorded_at', 'expires_at',
  'not_before')

if record[2] == ARGV[2] then
  -- The reply got lost and the runner asks again: the same answer, and nothing counts twice.
  return cjson.decode(record[3])
end
if record[1] ~= ARGV[2] then
  local suite = redis.call('HMGET', state, 'consecutive_failures', 'status')
  return {0, at, tonumber(suite[1] or 0), suite[2] or 'INIT'}
end

redis.call('HINCRBY', state, 'total:' .. verdict, 1)
if verdict == 'PASS' then
  redis.call('HSET', state, 'consecutive_failures', 0)
  local last_fail = redis.call('HGET', state, 'last_fail')
  if not last_fail or now - tonumber(last_fail) > tonumber(ARGV[7]) then
    redis.call('HSET', state, 'status', verdict)
  end
  if ARGV[5] ~= '' then
    redis.call('RPUSH', runtime, ARGV[5])
    redis.call('LTRIM', runtime, -tonumber(ARGV[6]), -1)
  end
elseif verdict ~= 'SKIP' then
  redis.call('HSET', state, 'status', verdict)
  redis.call('HINCRBY', state, 'consecutive_failures', 1)
  redis.call('HINCRBY', state, 'total_failures', 1)
end

redis.call('ZREM', open, ARGV[1])
redis.call('HDEL', signals, '>' .. ARGV[3])
-- Other tests may wait for signals of this one.
local awaited = false
for _, field in ipairs(redis.call('HKEYS', signals)) do
  awaited = awaited or string.sub(field, 1, 1) == '>'
end
if not awaited and redis.call('TTL', signals) > tonumber(ARGV[10]) then
  redis.call('EXPIRE', signals, ARGV[10])
end
if ARGV[8] ~= '' then
  -- Spliced in, because decoding and encoding in Lua would turn empty lists into empty objects.
  local report = string.sub(ARGV[8], 1, -2) .. ',"at":' .. at .. '}'
  redis.call('XADD', reports, 'MAXLEN', ARGV[9], '*', 'report', report)
end
local suite = redis.call('HMGET', state, 'consecutive_failures', 'status')
local reply = {1, at, tonumber(suite[1] or 0), suite[2] or 'INIT'}
-- The record stays for who did not get this reply, and for a message that comes twice. Later a message is known by
-- saying that there was a record, which one that came without cannot.
redis.call('DEL', test)
redis.call('HSET', test, 'recorded_at', record[4], 'expires_at', record[5], 'verdict', verdict,
  'verdict_token', ARGV[2], 'verdict_reply', cjson.encode(reply))
-- Only a trigger says from when on it is to run; its message says when it was recorded.
redis.call('EXPIRE', test, record[6] and ARGV[10] or ARGV[11])
return reply
