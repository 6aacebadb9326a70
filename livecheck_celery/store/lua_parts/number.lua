-- Returns a number that LiveCheck stored. What it did not write, such as a word, nan or a number out of range, counts as
-- none, so that an operation is not refused until somebody repairs the field.
local function number(text)
  local found = tonumber(string.match(text or '', '^%d+%.?%d*$'))
  return found and found < 1e12 and found or nil
end

