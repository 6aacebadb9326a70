-- Deletes an execution that cannot get a verdict.
--
-- KEYS[1]  test  hash, the execution
-- KEYS[2]  open  zset, executions without a verdict
-- ARGV[1]  id    of the execution
-- Reply    1 deleted; 0 there is no such execution

local test, open, id = KEYS[1], KEYS[2], ARGV[1]
redis.call('ZREM', open, id)
return redis.call('DEL', test)
