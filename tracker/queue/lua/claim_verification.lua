-- Give the shard that waits longest to one verifier, and hide it from the others for a while. If
-- that verifier dies, the shard comes up again, and the claim of who takes it then is what counts.
--
-- KEYS  1 meta
-- ARGV  1 for how long to hide it, ms   2 id of the claim
-- Returns {'submission', row of `_rows.lua`} (also when it is sent again) | {'none'} | {'no_crawl'}

-- include: rows

local LOOK_BACK = 64 -- claims of other verifiers since the first try

local newest =
  redis.call('ZRANGE', key('verifying'), '+inf', '(' .. now, 'BYSCORE', 'REV', 'LIMIT', 0, LOOK_BACK)
for _, j in ipairs(newest) do
  if redis.call('HGET', key('job:' .. j), 'claim') == ARGV[2] then
    return { 'submission', submission_row(j) }
  end
end

while true do
  local j = redis.call('ZRANGE', key('verifying'), '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not j then
    return { 'none' }
  end
  local row = submission_row(j)
  if row then
    redis.call('ZADD', key('verifying'), now + ARGV[1], j)
    redis.call('HSET', key('job:' .. j), 'claim', ARGV[2])
    return { 'submission', row }
  end
  redis.call('ZREM', key('verifying'), j) -- no shard: the books tell what became of the job
end
