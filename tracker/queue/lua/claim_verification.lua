-- Give the shard that waits longest to one verifier, and hide it from the others for a while. If
-- that verifier dies, the shard comes up again.
--
-- KEYS  1 meta
-- ARGV  1 for how long to hide it, ms
-- Returns {'submission', row of `_rows.lua`} | {'none'} | {'no_crawl'}

-- include: rows

local j = redis.call('ZRANGE', key('verifying'), '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
if not j then
  return { 'none' }
end
redis.call('ZADD', key('verifying'), now + ARGV[1], j)
return { 'submission', submission_row(j) }
