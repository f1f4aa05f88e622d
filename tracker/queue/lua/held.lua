-- The leases that one worker holds. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 account   2 worker
-- Returns {'leases', how many there are, rows of `_rows.lua`} | {'no_crawl'}

-- include: rows

local rows = {}
for _, j in ipairs(redis.call('SMEMBERS', key('held:' .. ARGV[1] .. '/' .. ARGV[2]))) do
  local job = key('job:' .. j)
  table.insert(rows, lease_row(j, job, redis.call('HGET', job, 'holder')))
end
return { 'leases', #rows, rows }
