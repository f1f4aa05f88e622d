-- Whether what was uploaded under a lease may still be needed. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease
-- Returns {'kept', 1 | 0} | {'no_crawl'}

-- include: standing

local fetched = redis.call('HGET', key('job:' .. ARGV[1]), 'fetched')
if fetched and cjson.decode(fetched).lease == ARGV[2] then
  return { 'kept', 1 } -- to be scored
end
local lease = standing(ARGV[1], ARGV[2], '')
return { 'kept', lease and (lease.holds or may_come_late(lease)) and 1 or 0 }
