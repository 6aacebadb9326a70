-- The text of an entry of the stream, and the bytes of all texts so far.
local function text_and_total(entry)
  local fields = entry and entry[2] or {}
  local total = fields[4] or ''
  return fields[2] or '', string.match(total, '^%d+$') and #total < 16 and tonumber(total) or 0
end

-- Adds a report to the stream, and removes the oldest ones over the limits; the new one stays.
-- The difference between the totals of two entries is the bytes of the texts between them.
local function add_report(reports, report, at, max_reports, max_bytes, ttl)
  -- Spliced in, because decoding and encoding in Lua would turn empty lists into empty objects.
  local text = string.sub(report, 1, -2) .. ',"at":' .. at .. '}'
  local _, total = text_and_total(redis.call('XREVRANGE', reports, '+', '-', 'COUNT', 1)[1])
  total = total + #text
  local new_id = redis.call('XADD', reports, 'MAXLEN', max_reports, '*', 'report', text, 'total', total)
  redis.call('XTRIM', reports, 'MINID', math.max(0, tonumber(string.match(new_id, '%d+')) - ttl * 1000))
  redis.call('EXPIRE', reports, ttl)
  while true do
    local oldest = redis.call('XRANGE', reports, '-', '+', 'COUNT', 1)[1]
    local oldest_text, oldest_total = text_and_total(oldest)
    if oldest[1] == new_id or total - oldest_total + #oldest_text <= tonumber(max_bytes) then
      return
    end
    redis.call('XDEL', reports, oldest[1])
  end
end
