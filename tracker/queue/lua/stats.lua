-- A crawl's numbers, all of one instant. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 a lease without a heartbeat for so long is stale, ms
-- Returns {'stats', state, total, leased, verifying, accepted, dead, stale,
--          accepted in the last hour, in the last day, { field, value, … of `counts` },
--          waiting to be scored}
--       | {'no_crawl'}

-- include: known

local minute = math.floor(now / 60000)
local last_hour, last_day = 0, 0
for hour = math.floor(minute / 60) - 24, math.floor(minute / 60) do
  local rate = redis.call('HGETALL', key('rate:' .. hour))
  for i = 1, #rate, 2 do
    local age = minute - rate[i]
    if age < 60 then
      last_hour = last_hour + rate[i + 1]
    end
    if age < 24 * 60 then
      last_day = last_day + rate[i + 1]
    end
  end
end

local state, total = unpack(redis.call('HMGET', meta, 'state', 'total'))
return {
  'stats', state, tonumber(total),
  redis.call('ZCARD', key('leases')),
  redis.call('ZCARD', key('verifying')),
  redis.call('HLEN', key('finished')),
  redis.call('ZCARD', key('dead')),
  redis.call('ZCOUNT', key('beats'), '-inf', now - ARGV[1]),
  last_hour, last_day,
  redis.call('HGETALL', key('counts')),
  redis.call('ZCARD', key('score')),
}
