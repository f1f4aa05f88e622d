-- One more token for an account, or one in place of all that it had.
--
-- KEYS  1 {accounts}
-- ARGV  1 account   2 token id   3 its secret's SHA-256   4 label   5 scopes by spaces, or '' for
--       all of the account's   6 seconds until it expires, or ''   7 1: in place of the others
-- Returns {'added', role} (also when it is sent again) | {'no_account'}
--       | {'too_many', how many there may be}

-- include: clock
-- include: tokens

local role = redis.call('HGET', root .. ':account:' .. ARGV[1], 'role')
if not role then
  return { 'no_account' }
end
if redis.call('SISMEMBER', root .. ':tokens:' .. ARGV[1], ARGV[2]) == 1 then
  return { 'added', role }
end
if ARGV[7] == '1' then
  drop_tokens(ARGV[1])
end
if not has_room(ARGV[1]) then
  return { 'too_many', most_tokens }
end
local expires = ARGV[6] ~= '' and ms(now + ARGV[6] * 1000) or nil
write_token(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], expires)
return { 'added', role }
