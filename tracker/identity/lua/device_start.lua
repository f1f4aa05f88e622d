-- A machine wants to log in.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the device code   2 hash of the user code   3 worker   4 client
--       5 how long the codes last, s   6 interval, s   7 how many logins may be under way
-- Returns {'started'} | {'too_many'} | {'taken'}: another login has this user code

-- include: clock

local devices = root .. ':devices'
local user = root .. ':user_code:' .. ARGV[2]
local owner = redis.call('GET', user)
if owner then
  return { owner == ARGV[1] and 'started' or 'taken' }
end
redis.call('ZREMRANGEBYSCORE', devices, '-inf', ms(now))
if redis.call('ZCARD', devices) >= tonumber(ARGV[7]) then
  return { 'too_many' }
end
local device = root .. ':device:' .. ARGV[1]
redis.call('HSET', device, 'user', ARGV[2], 'worker', ARGV[3], 'client', ARGV[4],
  'created', ms(now), 'interval', ARGV[6], 'state', 'pending')
redis.call('EXPIRE', device, ARGV[5])
redis.call('SET', user, ARGV[1], 'EX', ARGV[5])
redis.call('ZADD', devices, ms(now + ARGV[5] * 1000), ARGV[1])
return { 'started' }
