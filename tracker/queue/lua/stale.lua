-- Leases without a recent heartbeat, silent longest first. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 silent for so long, ms   2 how many at most
-- Returns {'leases', how many there are, rows of `_rows.lua`} | {'no_crawl'}

-- include: rows

local rows = {}
local silent =
  redis.call('ZRANGE', key('beats'), '-inf', now - ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, j in ipairs(silent) do
  local job = key('job:' .. j)
  local attempt, number = holder_of(job, 'leased')
  if attempt then
    table.insert(rows, lease_row(j, job, number))
  end
end
return { 'leases', redis.call('ZCOUNT', key('beats'), '-inf', now - ARGV[1]), rows }
