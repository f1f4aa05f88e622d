-- A heartbeat: the lease lasts on. One that ran out comes back to life while nobody else has the
-- job; one that an admin took away does not, so that its worker stops.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 account   4 lease duration, ms   5 progress (JSON)
-- Returns {'extended', deadline ms, the crawl's state}
--       | {'lost', why} | {'not_yours'} | {'no_job'} | {'no_crawl'}

-- include: standing
-- include: reopen

local lease, refusal = standing(ARGV[1], ARGV[2], ARGV[3])
if not lease then
  return refusal
end
if not (lease.holds and lease.state == 'leased') then
  if not (may_come_late(lease) and lease.attempt.outcome == 'expired') then
    return lost(lease)
  end
  reopen(lease)
  local held = key('held:' .. lease.attempt.account .. '/' .. lease.attempt.worker)
  redis.call('SADD', held, lease.j)
end

local deadline = now + ARGV[4]
redis.call('HSET', lease.job, 'state', 'leased', 'progress', ARGV[5])
redis.call('ZADD', key('leases'), deadline, lease.j)
redis.call('ZADD', key('beats'), now, lease.j)
return { 'extended', deadline, redis.call('HGET', meta, 'state') }
