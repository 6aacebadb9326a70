-- Refuses a key that is not a stream; before the first write of a script.
local function check_stream(reports)
  local kind = redis.call('TYPE', reports).ok
  if kind ~= 'none' and kind ~= 'stream' then
    return redis.error_reply('WRONGTYPE ' .. reports .. ' holds a ' .. kind .. ', not a stream')
  end
end
