-- A person says yes or no to a login.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the device code   2 approved | denied   3 account   4 by whom
-- Returns {'decided'} | {'over'}: it is too old, or was decided otherwise
--       | {'no_account'}: there is none, or it was revoked

-- include: clock

local device = root .. ':device:' .. ARGV[1]
local row = redis.call('HMGET', device, 'state', 'account')
if row[1] == ARGV[2] and row[2] == ARGV[3] then
  return { 'decided' }
end
if row[1] ~= 'pending' then
  return { 'over' }
end
if ARGV[2] == 'approved' then
  local account = redis.call('HMGET', root .. ':account:' .. ARGV[3], 'role', 'revoked')
  if not account[1] or account[2] then
    return { 'no_account' }
  end
end
redis.call('HSET', device, 'state', ARGV[2], 'account', ARGV[3], 'by', ARGV[4])
return { 'decided' }
