-- Deletes an execution that cannot get a verdict.
--
-- KEYS[1]  test   hash, the execution
-- KEYS[2]  open   zset, executions without a verdict
-- KEYS[3]  suite  hash, the suite
-- ARGV[1]  id     of the execution
-- Reply    1 deleted; 0 there is no such execution

-- include open_bytes
local test, open, suite, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
remove_open(open, suite, test, id)
return redis.call('DEL', test)
