-- A use of an id is "<seconds>-<nonce>", or "<seconds>" if the sender has no nonces: an earlier version of LiveCheck, or
-- another program. A record has both parts in fields of their own, since earlier versions compare "use" with seconds.
local function parts_of(use)
  return string.match(use, '^([^-]*)%-?(.*)$')
end

-- Returns the use in a record, from its fields "use" and "nonce"; nil if it has none.
local function recorded_use(seconds, nonce)
  return nonce and nonce ~= '' and seconds .. '-' .. nonce or seconds or nil
end

local function is_same_use(one, other)
  local seconds, nonce = parts_of(one)
  local other_seconds, other_nonce = parts_of(other)
  return seconds == other_seconds and (nonce == other_nonce or nonce == '' or other_nonce == '')
end
