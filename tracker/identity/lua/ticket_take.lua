-- A decision on the web page. A ticket is good for one.
--
-- KEYS  1 {accounts}
-- ARGV  1 hash of the ticket   2 id of this call
-- Returns {'taken', hash of the device code, worker, account, role of a new account or '',
--       by whom, the id of their token} (also when it is sent again) | {'unknown'}

-- include: once

local said = first_answer(ARGV[2])
if said then
  return said
end
local ticket = root .. ':ticket:' .. ARGV[1]
local row = redis.call('HMGET', ticket, 'device', 'worker', 'account', 'new', 'by', 'token')
if not row[1] then
  return { 'unknown' }
end
redis.call('DEL', ticket)
return answer(ARGV[2], { 'taken', row[1], row[2], row[3], row[4], row[5], row[6] or '' })
