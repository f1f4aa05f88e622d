-- One row of the audit log. Its two streams share their ids, so that rows of both have one order.
--
-- KEYS  1 {audit}
-- ARGV  1 stream: rows | refused   2 how many rows it keeps   3.. fields and values
-- Returns the row's id

-- include: clock

local last = redis.call('HMGET', root .. ':last', 'ms', 'number')
local ms_now = math.max(math.floor(now), tonumber(last[1] or 0))
local number = tonumber(last[2] or 0) + 1
redis.call('HSET', root .. ':last', 'ms', string.format('%d', ms_now), 'number', number)
return redis.call('XADD', root .. ':' .. ARGV[1], 'MAXLEN', '~', ARGV[2],
  string.format('%d-%d', ms_now, number), unpack(ARGV, 3))
