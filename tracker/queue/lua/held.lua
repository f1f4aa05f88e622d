-- The leases that one worker holds. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 account   2 worker
-- Returns {'leases', how many there are, rows of `_rows.lua`} | {'no_crawl'}

-- include: held
-- include: rows

local rows = {}
for _, j in ipairs(redis.call('SMEMBERS', held_by_worker(ARGV[1], ARGV[2]))) do
  local attempt, number = hold_of(j, ARGV[1], ARGV[2])
  if attempt then
    table.insert(rows, lease_row(j, key('job:' .. j), number))
  end
end
return { 'leases', #rows, rows }
