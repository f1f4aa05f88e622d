-- One row of the audit log. Its two streams share their ids, so that rows of both have one order.
--
-- KEYS  1 {audit}
-- ARGV  1 id of this call   2 stream: rows | refused   3 how many rows it keeps
--       4.. fields and values
-- Returns {'noted', the row's id} (also when it is sent again)

-- include: once

local said = first_answer(ARGV[1])
if said then
  return said
end
local last = redis.call('HMGET', root .. ':last', 'ms', 'number')
local ms_now = math.max(math.floor(now), tonumber(last[1] or 0))
local number = tonumber(last[2] or 0) + 1
redis.call('HSET', root .. ':last', 'ms', string.format('%d', ms_now), 'number', number)
local row = redis.call('XADD', root .. ':' .. ARGV[2], 'MAXLEN', '~', ARGV[3],
  string.format('%d-%d', ms_now, number), unpack(ARGV, 4))
return answer(ARGV[1], { 'noted', row })
