-- Take back jobs whose lease has run out; the next worker may have them at once.
--
-- Any number of processes may run this. If nobody did for a long time, the tracker was away and
-- no worker could beat: then all leases are made longer by that time, and none is taken.
--
-- KEYS  1 meta
-- ARGV  1 how many at most   2 how long nobody ran this if the tracker was away, ms
-- Returns {'reaped', how many} (sent again: of what has run out since) | {'no_crawl'}

-- include: known
-- include: ending

local last = redis.call('HGET', meta, 'reaped_at')
redis.call('HSET', meta, 'reaped_at', now)
if last and now - last > tonumber(ARGV[2]) then
  for _, j in ipairs(redis.call('ZRANGE', key('leases'), 0, -1)) do
    redis.call('ZINCRBY', key('leases'), now - last, j)
  end
  return { 'reaped', 0 }
end

local expired = redis.call('ZRANGE', key('leases'), '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, j in ipairs(expired) do
  local job = key('job:' .. j)
  local attempt, number = holder_of(job, 'leased')
  if attempt then
    end_attempt(j, job, number, attempt, 'expired', 'no heartbeat came before the deadline')
  else -- nobody's: it would come up for ever; the books tell what became of the job
    redis.call('ZREM', key('leases'), j)
    redis.call('ZREM', key('beats'), j)
  end
end
return { 'reaped', #expired }
