-- The machine asks whether it is let in. Once it is, its token is written, and the codes are good
-- for nothing but to ask again when that answer was lost: as long as nobody used the token, another
-- takes its place. It ends with the token by which a person said yes.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the device code   2 token id   3 its secret's SHA-256
--       4 how long a lost answer may be asked for again, s
-- Returns {'token', account} | {'pending'} | {'slow_down', interval, s} | {'denied'} | {'over'}
--       | {'too_many', account}

-- include: clock
-- include: once
-- include: tokens
-- include: devices

local said = first_answer(ARGV[2])
if said then
  return said
end
local device = root .. ':device:' .. ARGV[1]
local row = redis.call('HMGET', device, 'state', 'account', 'worker', 'asked', 'interval', 'token',
  'user', 'address', 'expires')
local state, account, expires = row[1], row[2], row[9]
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
  redis.call('DEL', device)
  close(ARGV[1], row[7], row[8])
  return answer(ARGV[2], { 'denied' })
elseif expires and tonumber(expires) <= now then
  return { 'over' }
end

local before = row[6]
if before then
  local known = redis.call('HMGET', root .. ':token:' .. before, 'account', 'used')
  if not known[1] or known[2] then
    return { 'over' }
  end
  redis.call('DEL', root .. ':token:' .. before)
  redis.call('SREM', root .. ':tokens:' .. account, before)
end
if not has_room(account) then
  return { 'too_many', account }
end
-- Whoever takes over the bot can let machines in. None of them may become an admin that way.
write_token(account, ARGV[2], ARGV[3], row[3], 'work', expires)
redis.call('HSET', device, 'token', ARGV[2])
if not before then
  redis.call('EXPIRE', device, ARGV[4])
  close(ARGV[1], row[7], row[8])
end
return answer(ARGV[2], { 'token', account })
