-- Decides which action the sweep takes on an execution that is due. Of several sweepers, one gets the action.
--
-- KEYS[1]  test           hash, the execution
-- KEYS[2]  open           zset, executions without a verdict
-- KEYS[3]  suite          hash, the suite; "claimed_up_to" is when the newest claimed execution was recorded
-- ARGV[1]  id             of the execution
-- ARGV[2]  token          fencing token of the sweeper, unique to this call
-- ARGV[3]  max_attempts   claims after which an execution with a lapsed lease is not re-sent
-- ARGV[4]  resend_after   seconds from the first message to the second; doubled each time
-- ARGV[5]  max_resend     maximum seconds between messages
-- ARGV[6]  closing_lease  seconds the sweeper has to write the verdict
-- ARGV[7]  layout         newest version of the layout of records that the sweeper can read; others are left
-- Reply    {action, payload or "", recorded_at or ""}
--          action: none; send (its message was taken or is lost: re-send it); again (re-send it: it was put off); resend
--          (re-send it unless messages wait in its queue: it may be one of them); or write this verdict with the token:
--          timeout (it ran too long), lost (its worker died), expired (it was not claimed in time), revoked;
--          or unreadable, if LiveCheck did not write the record

-- include open_bytes
local test, open, suite, id, token = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local max_attempts, resend_after, max_resend = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local closing_lease = tonumber(ARGV[6])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function check_again(time)
  redis.call('ZADD', open, string.format('%.6f', time), id)
end

local kind = redis.call('TYPE', test).ok
if kind ~= 'hash' and kind ~= 'none' then
  return {'unreadable', '', ''}
end
local record = redis.call('HMGET', test, 'verdict', 'token', 'lease_until', 'attempts', 'expires_at', 'closing',
  'payload', 'outcome', 'recorded_at', 'taken', 'not_before', 'sent_at', 'layout', 'sends')
for _, at in ipairs({3, 4, 5, 9, 11, 12, 13, 14}) do
  if record[at] and not string.match(record[at], '^%d+%.?%d*$') then
    return {'unreadable', '', ''}
  end
end
local known = {timeout = true, lost = true, expired = true, revoked = true}
if record[6] and not known[record[6]] then
  return {'unreadable', '', ''}
end
local lease_until, attempts = tonumber(record[3] or 0), tonumber(record[4] or 0)
local expires_at, closing, payload, recorded_at = tonumber(record[5] or 0), record[6], record[7], record[9]
local taken, sent_at = record[10], tonumber(record[12] or record[11] or recorded_at or 0)
local claimed_up_to = tonumber(redis.call('HGET', suite, 'claimed_up_to') or 0) or 0
local score = redis.call('ZSCORE', open, id)
if record[1] or not record[5] then
  remove_open(open, suite, test, id)
  return {'none', '', ''}
end
if closing and record[2] == token then
  return {closing, payload, recorded_at}
end
-- A sweeper that gets an action moves the score into the future.
if not score or tonumber(score) > now then
  return {'none', '', ''}
end

if tonumber(record[13] or 0) > tonumber(ARGV[7]) then
  check_again(now + resend_after)
  return {'none', '', ''}
end
local is_expired, is_overtaken = expires_at <= now, claimed_up_to > sent_at + resend_after / 2
local action
if closing then
  -- The sweeper that was closing it died; the reason is still the same.
  action = closing
elseif lease_until > now then
  -- A process whose claim replied "expired" does not run the execution, and will write that verdict.
  if not is_expired or record[8] == 'expired' then
    check_again(is_expired and lease_until or math.min(lease_until, expires_at))
    return {'none', '', ''}
  end
  action = 'timeout'
elseif is_expired then
  action = attempts > 0 and 'lost' or 'expired'
elseif attempts >= max_attempts then
  action = 'lost'
else
  local sends = redis.call('HINCRBY', test, 'sends', 1)
  check_again(math.min(now + math.min(resend_after * 2 ^ sends, max_resend), expires_at))
  redis.call('HSET', test, 'sent_at', string.format('%.6f', now))
  redis.call('HDEL', test, 'taken')
  local is_lost = taken or is_overtaken
  return {taken == 'put off' and 'again' or is_lost and 'send' or 'resend', payload, recorded_at}
end

-- Only the sweeper can write the verdict now, since the runner's token is no longer current.
redis.call('HSET', test, 'token', token, 'lease_until', string.format('%.6f', now + closing_lease), 'closing', action)
check_again(now + closing_lease)
return {action, payload, recorded_at}
