-- Takes back what the sweep noted of the message of an execution, which the broker did not accept.
--
-- KEYS[1]  test   hash, the execution
-- KEYS[2]  open   zset, executions without a verdict
-- ARGV[1]  id     of the execution
-- ARGV[2]  taken  whether its last message was taken or is lost ("1"), or was put off ("put off"); empty if neither
-- Reply    1 the next sweep sends it; 0 it has no record, or a verdict

local test, open, id, taken = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local record = redis.call('HMGET', test, 'verdict', 'expires_at', 'sends')
if record[1] or not record[2] or not redis.call('ZSCORE', open, id) then
  return 0
end

if (tonumber(record[3] or 0) or 0) > 0 then
  redis.call('HINCRBY', test, 'sends', -1)
end
if taken ~= '' then
  redis.call('HSET', test, 'taken', taken)
end
redis.call('ZADD', open, 0, id)
return 1
