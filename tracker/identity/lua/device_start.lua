-- A machine wants to log in.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the device code   2 hash of the user code   3 worker   4 client
--       5 how long the codes last, s   6 interval, s   7 how many logins may be under way
--       8 keyed hash of the address, or ''   9 how many of them one address may have
-- Returns {'started'} | {'taken'}: another login has this user code | {'too_many'}
--       | {'too_many_here', s until one of this address is over}

-- include: clock
-- include: devices

local user = root .. ':user_code:' .. ARGV[2]
local owner = redis.call('GET', user)
if owner then
  return { owner == ARGV[1] and 'started' or 'taken' }
end
local address = ARGV[8]
if address ~= '' then
  local here = devices_of(address)
  redis.call('ZREMRANGEBYSCORE', here, '-inf', ms(now))
  if redis.call('ZCARD', here) >= tonumber(ARGV[9]) then
    local ends = redis.call('ZRANGE', here, 0, 0, 'WITHSCORES')[2]
    return { 'too_many_here', math.ceil((ends - now) / 1000) }
  end
end
redis.call('ZREMRANGEBYSCORE', devices, '-inf', ms(now))
if redis.call('ZCARD', devices) >= tonumber(ARGV[7]) then
  return { 'too_many' }
end
local device, ends = root .. ':device:' .. ARGV[1], ms(now + ARGV[5] * 1000)
redis.call('HSET', device, 'user', ARGV[2], 'worker', ARGV[3], 'client', ARGV[4],
  'created', ms(now), 'interval', ARGV[6], 'state', 'pending', 'address', address)
redis.call('EXPIRE', device, ARGV[5])
redis.call('SET', user, ARGV[1], 'EX', ARGV[5])
redis.call('ZADD', devices, ends, ARGV[1])
if address ~= '' then
  redis.call('ZADD', devices_of(address), ends, ARGV[1])
  redis.call('EXPIRE', devices_of(address), ARGV[5])
end
return { 'started' }
