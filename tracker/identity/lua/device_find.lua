-- Somebody typed a user code. Wrong ones are counted, so that codes cannot be tried out.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the user code   2 who typed it   3 wrong ones that they may type
--       4 how long those are counted, s
-- Returns {'found', hash of the device code, worker, client, created ms} | {'unknown'}
--       | {'limited', seconds}

-- include: clock

local tries = root .. ':tries:' .. ARGV[2]
if tonumber(redis.call('GET', tries) or 0) >= tonumber(ARGV[3]) then
  return { 'limited', math.max(1, redis.call('TTL', tries)) }
end
local hash = redis.call('GET', root .. ':user_code:' .. ARGV[1])
local row = hash and redis.call('HMGET', root .. ':device:' .. hash,
  'worker', 'client', 'created', 'state')
if not hash or row[4] ~= 'pending' then
  if redis.call('INCR', tries) == 1 then
    redis.call('EXPIRE', tries, ARGV[4])
  end
  return { 'unknown' }
end
return { 'found', hash, row[1], row[2], row[3] }
