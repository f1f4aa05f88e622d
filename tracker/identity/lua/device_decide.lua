-- A person says yes or no to a login.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the device code   2 approved | denied   3 account   4 by whom
--       5 when the token ends by which they said so, Unix seconds, or ''
-- Returns {'decided'} | {'over'}: it is too old, or was decided otherwise
--       | {'no_account'}: there is none, or it was revoked  | {'banned', why}

-- include: clock
-- include: standing

local device = root .. ':device:' .. ARGV[1]
local row = redis.call('HMGET', device, 'state', 'account')
if row[1] == ARGV[2] and row[2] == ARGV[3] then
  return { 'decided' }
end
if row[1] ~= 'pending' then
  return { 'over' }
end
if ARGV[2] == 'approved' then
  local account = root .. ':account:' .. ARGV[3]
  local known = redis.call('HMGET', account, 'role', 'revoked')
  if not known[1] or known[2] then
    return { 'no_account' }
  end
  local standing = standing_in(account)
  if standing[1] == 'banned' then
    return { 'banned', standing[2] }
  end
end
redis.call('HSET', device, 'state', ARGV[2], 'account', ARGV[3], 'by', ARGV[4])
if ARGV[5] ~= '' then
  redis.call('HSET', device, 'expires', ms(tonumber(ARGV[5]) * 1000))
end
return { 'decided' }
