-- Somebody showed their token and a user code on the web page: what they decide next is known by
-- this ticket, so the page never holds the token, and no other page can decide for them.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the ticket   2 hash of the device code   3 worker   4 account to log in
--       5 role of a new account of that name, or ''   6 by whom   7 the id of their token
--       8 how long it lasts, s
-- Returns {'made'}

-- include: clock

local ticket = root .. ':ticket:' .. ARGV[1]
redis.call('HSET', ticket, 'device', ARGV[2], 'worker', ARGV[3], 'account', ARGV[4],
  'new', ARGV[5], 'by', ARGV[6], 'token', ARGV[7])
redis.call('EXPIRE', ticket, ARGV[8])
return { 'made' }
