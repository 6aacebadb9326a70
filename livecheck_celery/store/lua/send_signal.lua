-- Stores a signal, then publishes it to the processes that listen. A second call for the same send changes nothing.
--
-- KEYS[1]  signals           hash, signals of a test, and the processes that listen for them
-- KEYS[2]  test              hash, the execution
-- KEYS[3]  unrecorded        zset, ids with signals but without a record, by the time at which the signals expire
-- KEYS[4]  unrecorded_bytes  hash, id to the bytes of its signals; in "", their sum
-- KEYS[5]  reports           stream
-- ARGV[1]  id                of the execution
-- ARGV[2]  name              of the signal
-- ARGV[3]  event             the SignalEvent as a JSON object without the fields that are added here
-- ARGV[4]  use               use of the id that the sender was part of; empty if unknown
-- ARGV[5]  send_id           identifies this send
-- ARGV[6]  ttl               minimum seconds for which the signal is kept, unless the execution has its verdict
-- ARGV[7]  inbox             prefix of the pub/sub channels of processes
-- ARGV[8]  forget_after      minimum seconds for which the signal is kept if the execution has its verdict
-- ARGV[9]  max_fields        maximum number of fields of the signals hash
-- ARGV[10] max_ids           maximum number of ids without a record
-- ARGV[11] max_bytes         maximum bytes of their signals
-- ARGV[12] case_name         of the case
-- ARGV[13] max_reports       maximum length of the stream; 0 if reports are not kept
-- Reply    {received_at, id, ...}: ids whose signals the caller must drop; or a refusal: "stale", the signal belongs to
--          another test of this id; "overflow", the id has too many signals

local signals, test, unrecorded, unrecorded_bytes, reports = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, name, use, send_id, ttl = ARGV[1], ARGV[2], ARGV[4], ARGV[5], tonumber(ARGV[6])
local inbox, forget_after, max_fields = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
local max_ids, max_bytes, case_name, max_reports = tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12], tonumber(ARGV[13])
-- Ids and sends that are remembered: more than one pass of the outbox repeats.
local EVICTIONS, SENDS = 20, 8
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local received_at = string.format('%.6f', now)

local record = redis.call('HMGET', test, 'verdict', 'expires_at', 'use', 'verdict_at', 'limits')
local verdict, expires_at, recorded_use = record[1], record[2], record[3] or ''
local stored_as = name
if use ~= '' and recorded_use ~= '' and use ~= recorded_use then
  if not verdict then
    -- From a trigger that was refused as a duplicate, or from an earlier use of the id.
    return 'stale'
  end
  -- Perhaps it overtook the trigger that uses the id again; then that one takes it over.
  stored_as = '~' .. use .. ' ' .. name
end
if verdict then
  ttl = forget_after
elseif expires_at then
  ttl = math.max(ttl, math.ceil(tonumber(expires_at) - now))
end

-- Number of arrivals, time of the first, use of the id, and the last sends.
local counted = {}
for word in string.gmatch(redis.call('HGET', signals, '+' .. stored_as) or '', '%S+') do
  table.insert(counted, word)
end
local known_use = use == '' and '-' or use
if counted[3] ~= known_use and counted[3] ~= '-' and known_use ~= '-' then
  counted = {}
end
for at = 4, #counted do
  if counted[at] == send_id then
    return {received_at}
  end
end
local arrivals, first_at = tonumber(counted[1] or 0) + 1, counted[2] or received_at
local event = string.sub(ARGV[3], 1, -2) .. ',"received_at":' .. received_at .. ',"arrivals":' .. arrivals
  .. ',"first_at":' .. first_at .. '}'
local words = {arrivals, first_at, known_use ~= '-' and known_use or counted[3] or '-'}
for at = math.max(4, #counted - SENDS + 2), #counted do
  table.insert(words, counted[at])
end
table.insert(words, send_id)
local info = table.concat(words, ' ')

local fields = redis.call('HKEYS', signals)
if #fields >= max_fields and redis.call('HEXISTS', signals, stored_as) == 0 then
  return 'overflow'
end

-- Sent with key=, after the verdict: late for that test, or early for the next one of this id, which takes it over.
local early = verdict and use == '' and '~- ' .. name
local early_event, early_info
if early then
  local before = redis.call('HGET', signals, '+' .. early)
  local count, since = string.match(before or '', '^(%d+) (%S+)')
  count, since = tonumber(count or 0) + 1, since or received_at
  early_event = string.sub(ARGV[3], 1, -2) .. ',"received_at":' .. received_at .. ',"arrivals":' .. count
    .. ',"first_at":' .. since .. '}'
  early_info = count .. ' ' .. since .. ' - ' .. send_id
end

-- Signals that belong to no test are bounded by dropping those that expire first.
local expired, dropped, bytes, total = {}, {}, 0, 0
if not expires_at then
  local before = redis.call('HMGET', unrecorded_bytes, id, '')
  local stored = redis.call('HSTRLEN', signals, stored_as)
  bytes = tonumber(before[1] or 0) + #event - stored
  total = tonumber(before[2] or 0) + #event - stored
  local count = redis.call('ZCARD', unrecorded) + (redis.call('ZSCORE', unrecorded, id) and 0 or 1)
  local oldest = redis.call('ZRANGE', unrecorded, 0, EVICTIONS - 1, 'WITHSCORES')
  for at = 1, #oldest, 2 do
    local is_expired = tonumber(oldest[at + 1]) <= now
    if oldest[at] ~= id and (is_expired or count > max_ids or total > max_bytes) then
      table.insert(is_expired and expired or dropped, oldest[at])
      count = count - 1
      total = total - tonumber(redis.call('HGET', unrecorded_bytes, oldest[at]) or 0)
    end
  end
  if total > max_bytes or count > max_ids then
    return 'overflow'
  end
end

-- A signal that arrives again after the verdict is reported, once for each signal.
local late
if verdict and stored_as == name and arrivals > 1 and max_reports > 0
  and redis.call('HEXISTS', test, 'late:' .. name) == 0 then
  local kind = redis.call('TYPE', reports).ok
  if kind ~= 'none' and kind ~= 'stream' then
    return redis.error_reply('WRONGTYPE ' .. reports .. ' holds a ' .. kind .. ', not a stream')
  end
  local limit = record[5] and cjson.decode(record[5])[name]
  local is_forbidden = limit and arrivals > limit
  local times = arrivals == 2 and 'twice' or arrivals .. ' times'
  late = cjson.encode({
    case_name = case_name,
    state = is_forbidden and 'FAIL' or verdict,
    error = 'test ' .. id .. ': ' .. name .. ' arrived ' .. times .. ', the last time '
      .. string.format('%.1f', now - tonumber(record[4] or now)) .. ' s after the verdict ' .. verdict
      .. (is_forbidden and ' (times=' .. limit .. ')' or ''),
  })
end

redis.call('HSET', signals, stored_as, event, '+' .. stored_as, info)
if early then
  redis.call('HSET', signals, early, early_event, '+' .. early, early_info)
end
if redis.call('TTL', signals) < ttl then
  redis.call('EXPIRE', signals, ttl)
end
if not expires_at then
  for _, gone in ipairs({expired, dropped}) do
    for _, each in ipairs(gone) do
      redis.call('ZREM', unrecorded, each)
      redis.call('HDEL', unrecorded_bytes, each)
    end
  end
  redis.call('ZADD', unrecorded, string.format('%.6f', now + redis.call('TTL', signals)), id)
  redis.call('HSET', unrecorded_bytes, id, bytes, '', total)
  for _, key in ipairs({unrecorded, unrecorded_bytes}) do
    if redis.call('TTL', key) < ttl then
      redis.call('EXPIRE', key, ttl)
    end
  end
end
if late then
  redis.call('HSET', test, 'late:' .. name, arrivals)
  redis.call('XADD', reports, 'MAXLEN', max_reports, '*', 'report',
    string.sub(late, 1, -2) .. ',"at":' .. received_at .. '}')
end
if stored_as == name then
  for _, field in ipairs(fields) do
    if string.sub(field, 1, 1) == '>' then
      redis.call('PUBLISH', inbox .. string.sub(field, 2), event)
    end
  end
end
return {received_at, unpack(dropped)}
