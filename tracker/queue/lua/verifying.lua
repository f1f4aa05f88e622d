-- The shards that wait for verification, next first; claimed ones last. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 how many at most
-- Returns {'submissions', rows of `_rows.lua`} | {'no_crawl'}

-- include: rows

local rows = {}
for _, j in ipairs(redis.call('ZRANGE', key('verifying'), 0, ARGV[1] - 1)) do
  local row = submission_row(j)
  if row then
    table.insert(rows, row)
  end
end
return { 'submissions', rows }
