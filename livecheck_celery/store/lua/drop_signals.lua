-- Drops the signals of an id without a record, unless a test waits for them or has been recorded meanwhile.
--
-- KEYS[1]  signals  hash, signals of the id, and the processes that listen for them
-- KEYS[2]  test     hash, the execution
-- Reply    1 dropped; 0 kept

local signals, test = KEYS[1], KEYS[2]
if redis.call('EXISTS', test) == 1 then
  return 0
end
for _, field in ipairs(redis.call('HKEYS', signals)) do
  if string.sub(field, 1, 1) == '>' then
    return 0
  end
end
return redis.call('DEL', signals)
