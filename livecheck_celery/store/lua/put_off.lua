-- Puts off an execution that no worker runs: the sweep sends its message again later, and less often each time.
--
-- KEYS[1]  test          hash, the execution
-- KEYS[2]  open          zset, executions without a verdict
-- ARGV[1]  id            of the execution
-- ARGV[2]  recorded_at   when the execution was recorded, according to its message
-- ARGV[3]  resend_after  seconds until the sweep sends the message; doubled with each message it has sent
-- ARGV[4]  max_resend    maximum of these seconds
-- Reply    1 put off; 0 it has no record or is of another use of its id, is running, or has a verdict

local test, open, id = KEYS[1], KEYS[2], ARGV[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local record = redis.call('HMGET', test, 'recorded_at', 'verdict', 'lease_until', 'sends', 'expires_at')
local is_running = tonumber(record[3] or 0) > now
if tonumber(record[1] or 0) ~= tonumber(ARGV[2]) or record[2] or is_running or not redis.call('ZSCORE', open, id) then
  return 0
end
local delay = math.min(tonumber(ARGV[3]) * 2 ^ tonumber(record[4] or 0), tonumber(ARGV[4]))
local time = string.format('%.6f', math.min(now + delay, tonumber(record[5])))

redis.call('HSET', test, 'taken', 'put off')
redis.call('ZADD', open, time, id)
return 1
