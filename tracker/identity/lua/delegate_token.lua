-- A token that lets a bot act for the account of a Discord user, for a short while.
--
-- KEYS  1 {accounts}
-- ARGV  1 Discord user   2 the bot's account   3 token id   4 its secret's SHA-256
--       5 how long it lasts, s   6 scopes by spaces, or '' for all that may be lent
--       7.. the roles that have rights to lend
-- Returns {'lent', account, role} | {'unlinked'} | {'revoked', account} | {'banned', account, why}
--       | {'no_rights', account}

-- include: clock
-- include: standing

local name = redis.call('GET', root .. ':discord:' .. ARGV[1])
if not name then
  return { 'unlinked' }
end
local row = redis.call('HMGET', root .. ':account:' .. name, 'role', 'revoked')
if not row[1] or row[2] then
  return { 'revoked', name }
end
local standing = standing_in(root .. ':account:' .. name)
if standing[1] == 'banned' then
  return { 'banned', name, standing[2] }
end
local may = false
for index = 7, #ARGV do
  may = may or ARGV[index] == row[1]
end
if not may then
  return { 'no_rights', name }
end
local token = root .. ':token:' .. ARGV[3]
redis.call('HSET', token, 'sha256', ARGV[4], 'account', name, 'act', ARGV[2], 'created', ms(now))
if ARGV[6] ~= '' then
  redis.call('HSET', token, 'scopes', ARGV[6])
end
redis.call('EXPIRE', token, ARGV[5])
return { 'lent', name, row[1] }
