-- Marks a run of a schedule as finished, so that it is not claimed again.
--
-- KEYS[1]  suite  hash, the suite
-- ARGV[1]  token  fencing token of the claim
-- Reply    1 finished; 0 the token does not hold the run

if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'run', 'run_until', 'run_over', 'run_attempts', 'run_sent')
return 1
