-- Lists the cases whose suites a stalled check must look at, and notes that all others were checked now.
--
-- KEYS[1]    checks      hash, case to the time of its last check, and the time from which its silence counts
-- ARGV[1]    everything  1 to list all of the cases
-- ARGV[2...] cases       name and warn_stalled_after of each, by turns
-- Reply      {name, time of its last check or an empty string, and so on}

-- include number
-- include is_resumed
local checks, everything = KEYS[1], ARGV[1] == '1'
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local at = string.format('%.6f', now)
local names, found, changes = {}, {}, {}
for index = 2, #ARGV, 2 do
  table.insert(names, ARGV[index])
end
local stored = redis.call('HMGET', checks, unpack(names))
for index, name in ipairs(names) do
  local limit = tonumber(ARGV[2 * index + 1])
  local checked_at, since = string.match(stored[index] or '', '^(%S+) (%S+)$')
  local checked, silent_since = number(checked_at), number(since)
  -- The time from which the silence counts only moves forward, so a case that is not due here is not stalled.
  local is_known = checked and silent_since and silent_since <= checked + 1
  if everything or not is_known or now - silent_since > limit or is_resumed(now, checked, limit) then
    table.insert(found, name)
    table.insert(found, is_known and checked_at or '')
  else
    table.insert(changes, name)
    table.insert(changes, at .. ' ' .. since)
  end
end

if #changes > 0 then
  redis.call('HSET', checks, unpack(changes))
end
return found
