-- One more token for an account, or one in place of all that it had.
--
-- KEYS  1 {accounts}
-- ARGV  1 account   2 token id   3 its secret's SHA-256   4 label   5 scopes by spaces, or '' for
--       all of the account's   6 seconds until it expires, or ''   7 1: in place of the others
-- Returns {'added', role} | {'no_account'} | {'too_many', how many there may be}

-- include: clock
-- include: tokens

local role = redis.call('HGET', root .. ':account:' .. ARGV[1], 'role')
if not role then
  return { 'no_account' }
end
if ARGV[7] == '1' then
  drop_tokens(ARGV[1])
end
if redis.call('SCARD', root .. ':tokens:' .. ARGV[1]) >= most_tokens then
  return { 'too_many', most_tokens }
end
write_token(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local token = root .. ':token:' .. ARGV[2]
if ARGV[5] ~= '' then
  redis.call('HSET', token, 'scopes', ARGV[5])
end
if ARGV[6] ~= '' then
  redis.call('HSET', token, 'expires', ms(now + ARGV[6] * 1000))
end
return { 'added', role }
