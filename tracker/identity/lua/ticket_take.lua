-- A decision on the web page. A ticket is good for one.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the ticket
-- Returns {'taken', hash of the device code, worker, account, role of a new account or '',
--       by whom} | {'unknown'}

-- include: clock

local ticket = root .. ':ticket:' .. ARGV[1]
local row = redis.call('HMGET', ticket, 'device', 'worker', 'account', 'new', 'by')
if not row[1] then
  return { 'unknown' }
end
redis.call('DEL', ticket)
return { 'taken', row[1], row[2], row[3], row[4], row[5] }
