-- Decides what becomes of an execution that is due for a look. Of several sweepers, one is told to act.
--
-- KEYS[1]  test           hash, the execution
-- KEYS[2]  open           zset, executions without a verdict
-- ARGV[1]  id
-- ARGV[2]  token          of the sweeper, unique to this call
-- ARGV[3]  max_attempts   claims after which a lapsed lease is not tried again
-- ARGV[4]  resend_after   seconds from the first message to the second; doubled every time
-- ARGV[5]  max_resend     seconds, longest wait between messages
-- ARGV[6]  closing_lease  seconds the sweeper has to write the verdict
-- Reply    {action, payload or "", recorded_at or ""}
--          none; send: send the message again;
--          timeout (ran too long), lost (its worker died), expired (nobody claimed it): write that verdict with the token

local test, open, id, token = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function look_again(time)
  redis.call('ZADD', open, string.format('%.6f', time), id)
end

local record = redis.call('HMGET', test, 'verdict', 'token', 'lease_until', 'attempts', 'expires_at', 'closing',
  'payload', 'outcome', 'recorded_at')
local expires_at, closing = tonumber(record[5] or 0), record[6]
local recorded_at = record[9]
if record[1] or not record[5] then
  redis.call('ZREM', open, id)
  return {'none', '', ''}
end
if closing and record[2] == token then
  return {closing, record[7], recorded_at}
end
-- Another sweeper was here first: it has moved the score on.
local score = redis.call('ZSCORE', open, id)
if not score or tonumber(score) > now then
  return {'none', '', ''}
end

local attempts = tonumber(record[4] or 0)
local lease_until = tonumber(record[3] or 0)
local expired = expires_at <= now
local action
if closing then
  -- The sweeper that was to close it died; the reason is still the same.
  action = closing
elseif lease_until > now then
  -- Who was told that it expired does not run it, but is about to write that verdict.
  if not expired or record[8] == 'expired' then
    look_again(expired and lease_until or math.min(lease_until, expires_at))
    return {'none', '', ''}
  end
  action = 'timeout'
elseif expired then
  action = attempts > 0 and 'lost' or 'expired'
elseif attempts >= tonumber(ARGV[3]) then
  action = 'lost'
else
  local sends = redis.call('HINCRBY', test, 'sends', 1)
  local wait = math.min(tonumber(ARGV[4]) * 2 ^ sends, tonumber(ARGV[5]))
  look_again(math.min(now + wait, expires_at))
  return {'send', record[7], recorded_at}
end

-- From here on the verdict is the sweeper's: the runner's token is no longer current.
local lease = now + tonumber(ARGV[6])
redis.call('HSET', test, 'token', token, 'lease_until', string.format('%.6f', lease), 'closing', action)
look_again(lease)
return {action, record[7], recorded_at}
