-- Makes a case known: its settings to who asks, and what resolves its signals to every process.
--
-- KEYS[1]  cases     hash, case to settings
-- KEYS[2]  wiring    hash, what every process is to know
-- ARGV[1]  name      of the case
-- ARGV[2]  settings  JSON
-- ARGV[3]  field     "sources:<case>"
-- ARGV[4]  sources   JSON; empty when nothing resolves signals of the case
-- Reply    nothing

redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] .. '.' .. clock[2]
-- Who remembers another "since" knows that everything was lost in between.
local is_first = redis.call('HSETNX', KEYS[2], 'since', now) == 1
local is_news = (redis.call('HGET', KEYS[2], ARGV[3]) or '') ~= ARGV[4]
if is_news then
  if ARGV[4] == '' then
    redis.call('HDEL', KEYS[2], ARGV[3])
  else
    redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
  end
end
if is_first or is_news then
  redis.call('HSET', KEYS[2], 'revision', now)
end
return false
