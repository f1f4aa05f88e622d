-- The machine asks whether it is let in. Once it is, its token is written, and the codes are good
-- for nothing but to ask again when that answer was lost: as long as nobody used the token, another
-- takes its place.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the device code   2 token id   3 its secret's SHA-256
--       4 how long a lost answer may be asked for again, s
-- Returns {'token', account} | {'pending'} | {'slow_down', interval, s} | {'denied'} | {'over'}
--       | {'too_many', account}

-- include: clock
-- include: tokens

local device = root .. ':device:' .. ARGV[1]
local row = redis.call('HMGET', device, 'state', 'account', 'worker', 'asked', 'interval', 'token',
  'user')
local state, account = row[1], row[2]
if not state then
  return { 'over' }
end

local asked = row[4]
redis.call('HSET', device, 'asked', ms(now))
-- half a second for the way: who waits as told is never told to slow down
if asked and now - asked < row[5] * 1000 - 500 then
  if state == 'pending' then
    redis.call('HINCRBY', device, 'interval', 5)
  end
  return { 'slow_down', redis.call('HGET', device, 'interval') }
end

if state == 'pending' then
  return { 'pending' }
elseif state == 'denied' then
  redis.call('DEL', device, root .. ':user_code:' .. row[7])
  redis.call('ZREM', root .. ':devices', ARGV[1])
  return { 'denied' }
end

local before = row[6]
if before and before ~= ARGV[2] then
  local known = redis.call('HMGET', root .. ':token:' .. before, 'account', 'used')
  if not known[1] or known[2] then
    return { 'over' }
  end
  redis.call('DEL', root .. ':token:' .. before)
  redis.call('SREM', root .. ':tokens:' .. account, before)
end
if redis.call('SCARD', root .. ':tokens:' .. account) >= most_tokens then
  return { 'too_many', account }
end
write_token(account, ARGV[2], ARGV[3], row[3])
-- Whoever takes over the bot can let machines in. None of them may become an admin that way.
redis.call('HSET', root .. ':token:' .. ARGV[2], 'scopes', 'work')
redis.call('HSET', device, 'token', ARGV[2])
if not before then
  redis.call('EXPIRE', device, ARGV[4])
  redis.call('DEL', root .. ':user_code:' .. row[7])
  redis.call('ZREM', root .. ':devices', ARGV[1])
end
return { 'token', account }
