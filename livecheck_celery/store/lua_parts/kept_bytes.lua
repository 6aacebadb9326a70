-- Signals of executions with a verdict are kept for a time: max_bytes of each case at once. The generic cell rate
-- algorithm bounds them; "kept" of the suite is when all of them are forgotten if they came evenly.

-- Returns the new value of "kept" if as many more bytes can be kept for as many seconds from now, else nil.
local function kept_with(suite, now, bytes, seconds, max_bytes)
  local kept = number(redis.call('HGET', suite, 'kept')) or 0
  kept = (kept > now + seconds + 1 and now or math.max(now, kept)) + math.max(0, bytes) / max_bytes * seconds
  return kept <= now + seconds and string.format('%.6f', kept) or nil
end
