-- Takes over an execution whose task was revoked, so that the caller can write its verdict.
--
-- KEYS[1]  test           hash, the execution
-- KEYS[2]  open           zset, executions without a verdict
-- ARGV[1]  id             of the execution
-- ARGV[2]  token          fencing token of the caller, unique to this call
-- ARGV[3]  recorded_at    when the execution was recorded, according to its message; empty if it was not recorded
-- ARGV[4]  closing_lease  seconds the caller has to write the verdict; then the sweep writes it
-- ARGV[5]  layout         newest version of the layout of records that the caller can read
-- Reply    1 the caller must write the verdict; 0 there is no such execution, or it has or is getting a verdict

local test, open, id, token = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local sent_recorded_at, closing_lease = tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local until_then = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000 + closing_lease)
local record = redis.call('HMGET', test, 'verdict', 'recorded_at', 'closing', 'token', 'layout')
if record[4] == token then
  return 1
end
if record[1] or not record[2] or record[3] or tonumber(record[5] or 0) > tonumber(ARGV[5])
  or (sent_recorded_at and sent_recorded_at < tonumber(record[2])) then
  return 0
end
local is_open = redis.call('ZSCORE', open, id)

redis.call('HSET', test, 'token', token, 'lease_until', until_then, 'closing', 'revoked')
-- A set created here would have no TTL.
if is_open then
  redis.call('ZADD', open, until_then, id)
end
return 1
