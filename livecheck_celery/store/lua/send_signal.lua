-- Stores a signal, then publishes it to the processes that listen. A second call for the same send changes nothing.
--
-- KEYS[1]  signals           hash, signals of a test, and the processes that listen for them
-- KEYS[2]  test              hash, the execution
-- KEYS[3]  unrecorded        zset, ids with signals but without a record, by the time at which the signals expire
-- KEYS[4]  unrecorded_bytes  hash, id to the bytes of its signals; in "", their sum
-- KEYS[5]  late              stream, reports of signals that arrive again after the verdict; a service can add to it only
-- KEYS[6]  suite             hash, the suite
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
-- ARGV[13] max_late          maximum length of the stream; 0 if reports are not kept
-- ARGV[14] report_ttl        seconds for which reports are kept
-- ARGV[15] max_open_bytes    maximum bytes of open executions and their signals, and of the signals of those with a verdict
-- Reply    {received_at, id, ...}: ids whose signals the caller must drop; or a refusal: "stale", the signal belongs to
--          another test of this id; "overflow", there are too many signals

-- include number
-- include check_stream
-- include uses
-- include open_bytes
-- include kept_bytes
local signals, test, unrecorded, unrecorded_bytes, late_reports, suite = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, name, use, send_id, ttl = ARGV[1], ARGV[2], ARGV[4], ARGV[5], tonumber(ARGV[6])
local inbox, forget_after, max_fields = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
local max_ids, max_bytes, case_name, max_late = tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12], tonumber(ARGV[13])
local max_open_bytes = tonumber(ARGV[15])
-- Ids that are dropped at once; sends that are remembered, which are all that one pass of the outbox can repeat.
local EVICTIONS, SENDS = 20, 501
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local received_at = string.format('%.6f', now)

local record = redis.call('HMGET', test, 'verdict', 'expires_at', 'use', 'verdict_at', 'limits', 'nonce')
local verdict, expires_at, use_of_record = record[1], record[2], recorded_use(record[3], record[6]) or ''
local stored_as = name
if use ~= '' and use_of_record ~= '' and not is_same_use(use, use_of_record) then
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

-- Stored for each signal: number of arrivals, time of the first, use of the id, and the last sends.
local function arrivals_of(field)
  local words = {}
  for word in string.gmatch(redis.call('HGET', signals, '+' .. field) or '', '%S+') do
    table.insert(words, word)
  end
  return words
end

-- Returns the event and what is stored with it, after this arrival.
local function with_this(before, arrivals)
  local first_at = before[2] or received_at
  local words = {arrivals, first_at, use ~= '' and use or before[3] or '-'}
  for at = math.max(4, #before - SENDS + 2), #before do
    table.insert(words, before[at])
  end
  table.insert(words, send_id)
  return string.sub(ARGV[3], 1, -2) .. ',"received_at":' .. received_at .. ',"arrivals":' .. math.max(1, arrivals)
    .. ',"first_at":' .. first_at .. '}', table.concat(words, ' ')
end

local before = arrivals_of(stored_as)
if use ~= '' and before[3] and before[3] ~= '-' and not is_same_use(before[3], use) then
  before = {}
end
for at = 4, #before do
  if before[at] == send_id then
    return {received_at}
  end
end
local arrivals = (number(before[1]) or 0) + 1
local event, info = with_this(before, arrivals)

-- Sent with key=, after the verdict: late for that test, or early for the next one of this id, which takes it over. It is
-- counted for one of them: for the next one, unless that test has not had the signal.
local early, early_event, early_info = verdict and use == '' and '~- ' .. name
local early_before = arrivals_of('~- ' .. name)
local of_next = number(early_before[1]) or 0
if early then
  of_next = of_next + (arrivals > 1 and 1 or 0)
  early_event, early_info = with_this(early_before, of_next)
end

local fields, added = redis.call('HKEYS', signals), 0
for _, field in ipairs({stored_as, early or nil}) do
  added = added + (redis.call('HEXISTS', signals, field) == 0 and 2 or 0)
end
if added > 0 and #fields + added > max_fields then
  return 'overflow'
end

local more = #event + #info - redis.call('HSTRLEN', signals, stored_as) - redis.call('HSTRLEN', signals, '+' .. stored_as)
local kept
if verdict then
  kept = kept_with(suite, now, more + (early and #early_event or 0), forget_after, max_open_bytes)
  if not kept then
    return 'overflow'
  end
elseif expires_at then
  -- More than for executions, so that those that are open get their signals; and more for fake requests.
  local factor = redis.call('HGET', test, 'synthetic') == '1' and 3 or 2
  if more > 0 and bytes_in(suite, 'open_bytes') + more > factor * max_open_bytes then
    return 'overflow'
  end
end

-- Signals that belong to no test are bounded by dropping those that expire first.
local expired, dropped, bytes, total = {}, {}, 0, 0
if not expires_at then
  local counted = redis.call('HMGET', unrecorded_bytes, id, '')
  bytes = math.max(0, (number(counted[1]) or 0) + more)
  total = math.max(0, (number(counted[2]) or 0) + more)
  local count = redis.call('ZCARD', unrecorded) + (redis.call('ZSCORE', unrecorded, id) and 0 or 1)
  local oldest = redis.call('ZRANGE', unrecorded, 0, EVICTIONS - 1, 'WITHSCORES')
  for at = 1, #oldest, 2 do
    local is_expired = tonumber(oldest[at + 1]) <= now
    if oldest[at] ~= id and (is_expired or count > max_ids or total > max_bytes) then
      table.insert(is_expired and expired or dropped, oldest[at])
      count = count - 1
      total = math.max(0, total - (number(redis.call('HGET', unrecorded_bytes, oldest[at])) or 0))
    end
  end
  if total > max_bytes or count > max_ids then
    return 'overflow'
  end
end

-- A signal that arrives again after the verdict is reported, once for each signal.
local late
if verdict and stored_as == name and arrivals > 1 and max_late > 0
  and redis.call('HEXISTS', test, 'late:' .. name) == 0 then
  local refusal = check_stream(late_reports)
  if refusal then
    return refusal
  end
  local is_read, limits = pcall(cjson.decode, record[5] or '{}')
  local limit = is_read and type(limits) == 'table' and tonumber(limits[name])
  local is_forbidden = limit and arrivals - of_next > limit
  local times = arrivals == 2 and 'twice' or arrivals .. ' times'
  late = cjson.encode({
    case_name = case_name,
    state = is_forbidden and 'FAIL' or verdict,
    error = 'test ' .. id .. ': ' .. name .. ' arrived ' .. times .. ', the last time '
      .. string.format('%.1f', now - (number(record[4]) or now)) .. ' s after the verdict ' .. verdict
      .. (is_forbidden and ' (times=' .. limit .. ')' or '')
      .. (early and '; sent with key=, so it can be early for the next test of this id' or ''),
  })
end

redis.call('HSET', signals, stored_as, event, '+' .. stored_as, info)
if kept then
  redis.call('HSET', suite, 'kept', kept)
elseif expires_at then
  add_to_open(suite, test, more)
end
if early then
  redis.call('HSET', signals, early, early_event, '+' .. early, early_info)
end
if redis.call('TTL', signals) < ttl then
  redis.call('EXPIRE', signals, ttl)
end
-- The record outlives the signals, so that the next use of the id can tell which are not its own.
if verdict and redis.call('TTL', test) <= redis.call('TTL', signals) then
  redis.call('EXPIRE', test, redis.call('TTL', signals) + 1)
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
  local text = string.sub(late, 1, -2) .. ',"at":' .. received_at .. '}'
  local new_id = redis.call('XADD', late_reports, 'MAXLEN', max_late, '*', 'report', text)
  redis.call('XTRIM', late_reports, 'MINID', math.max(0, tonumber(string.match(new_id, '%d+')) - ARGV[14] * 1000))
  redis.call('EXPIRE', late_reports, ARGV[14])
end
if stored_as == name then
  for _, field in ipairs(fields) do
    if string.sub(field, 1, 1) == '>' then
      redis.call('PUBLISH', inbox .. string.sub(field, 2), event)
    end
  end
end
return {received_at, unpack(dropped)}
