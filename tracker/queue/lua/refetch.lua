-- The files of an intermediate that waits to be scored are gone: its job waits to be fetched anew.
-- A score stage that is under way fails by itself.
--
-- KEYS  1 meta
-- ARGV  1 id of the call   2 job   3 secret of the lease of the intermediate
-- Returns {'refetched', 1 | 0 (no such intermediate waits)} (also when it is sent again)
--       | {'no_crawl'}

-- include: ending
-- include: once

local again = first_answer(ARGV[1])
if again then
  return again
end

local j = ARGV[2]
local job = key('job:' .. j)
local state, fetched = unpack(redis.call('HMGET', job, 'state', 'fetched'))
if state ~= 'pending' or not fetched or cjson.decode(fetched).lease ~= ARGV[3] then
  return answer(ARGV[1], { 'refetched', 0 })
end
redis.call('ZREM', key('score'), j)
redis.call('HDEL', job, 'stage', 'fetched')
put_back(j, job, now)
return answer(ARGV[1], { 'refetched', 1 })
