-- Restores the suite's status after a service answered.
--
-- KEYS[1]  suite  hash, the suite
-- ARGV[1]  delay  seconds after a failure of the suite in which its status stays
-- Reply    1 the status is PASS again; 0 nothing was changed

-- include number
local stored = redis.call('HMGET', KEYS[1], 'status', 'last_fail', 'consecutive_failures', 'failing_since')
local status = stored[1] or 'INIT'
-- While tests fail, only a passing test restores the status: a service that answers can still break the contract.
if (number(stored[3]) or 0) > 0 or stored[4] then
  return 0
end
if status == 'INIT' or status == 'PASS' or status == 'SKIP' then
  return 0
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local last_fail = number(stored[2])
if last_fail and now - last_fail <= tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'status', 'PASS')
return 1
