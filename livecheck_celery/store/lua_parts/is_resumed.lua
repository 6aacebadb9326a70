-- Returns whether nobody checked a suite, and so nobody ran its tests, for a time that is not silence. Checks are at
-- most half a minute apart.
local function is_resumed(now, checked_at, warn_stalled_after)
  return now - checked_at > math.max(3, math.min(0.75 * warn_stalled_after, 90))
end
