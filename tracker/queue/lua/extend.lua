-- A heartbeat: the lease lasts on. One that ran out comes back to life while nobody else has the
-- job; one that an admin took away does not, so that its worker stops. None lasts for ever.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 account   4 lease duration, ms   5 progress (JSON)
--       6 how long a lease may last, beats or not, ms
-- Returns {'extended', deadline ms, the crawl's state, worker}
--       | {'lost', why} | {'not_yours'} | {'no_job'} | {'no_crawl'}

-- include: standing
-- include: held
-- include: reopen

local lease, refusal = standing(ARGV[1], ARGV[2], ARGV[3])
if not lease then
  return refusal
end
local attempt = lease.attempt
local holds = lease.holds and lease.state == 'leased'
if not (holds or (may_come_late(lease) and attempt.outcome == 'expired')) then
  return lost(lease)
end
local state = redis.call('HGET', meta, 'state')
if state == 'finished' then
  return { 'lost', 'finished' }
end
-- an outage of the tracker may have moved the deadline past that time
local deadline = holds and tonumber(redis.call('ZSCORE', key('leases'), lease.j)) or 0
local latest = math.max(attempt.leased_at + ARGV[6], deadline)
if latest <= now then
  return { 'lost', 'overlong' }
end
if not holds then
  reopen(lease)
  take_hold(lease.j, attempt)
end

deadline = math.min(now + ARGV[4], latest)
redis.call('HSET', lease.job, 'state', 'leased', 'progress', ARGV[5])
redis.call('ZADD', key('leases'), deadline, lease.j)
redis.call('ZADD', key('beats'), now, lease.j)
return { 'extended', deadline, state, attempt.worker }
