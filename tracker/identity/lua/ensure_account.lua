-- The operator's account and token, unless they are there.
--
-- KEYS  1 {accounts}
-- ARGV  1 name   2 role   3 token id   4 its secret's SHA-256   5 1: in place of other tokens
-- Returns {'ensured'}

-- include: clock
-- include: tokens
-- include: account

local known = redis.call('EXISTS', root .. ':account:' .. ARGV[1]) == 1
if not known then
  write_account(ARGV[1], ARGV[2], '')
end
if ARGV[5] == '1' or not known then
  drop_tokens(ARGV[1])
  write_token(ARGV[1], ARGV[3], ARGV[4], 'operator', '')
end
return { 'ensured' }
