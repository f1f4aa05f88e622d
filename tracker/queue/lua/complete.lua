-- Take an uploaded shard in for verification, if this lease holds the job, or held it and nobody
-- else has it now. Sent again, it gets the receipt of what became of the shard.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 account   4 manifest (JSON)
-- Returns {'receipt', state, outcome or '', message}
--       | {'lost', why} | {'not_yours'} | {'no_job'} | {'no_crawl'}

-- include: standing
-- include: reopen

local lease, refusal = standing(ARGV[1], ARGV[2], ARGV[3])
if not lease then
  return refusal
end
local attempt = lease.attempt
if lease.holds and lease.state == 'leased' then
  attempt.late = tonumber(redis.call('ZSCORE', key('leases'), lease.j)) < now or nil
elseif may_come_late(lease) then
  reopen(lease)
  attempt.late = true
elseif lease.holds or attempt.outcome == 'invalid' then
  return receipt(lease) -- it was handed in before
else
  return lost(lease)
end

attempt.submitted_at = now
save_attempt(lease.job, lease.number, attempt)
redis.call('ZREM', key('leases'), lease.j)
redis.call('ZREM', key('beats'), lease.j)
redis.call('SREM', key('held:' .. attempt.account .. '/' .. attempt.worker), lease.j)
redis.call('ZADD', key('verifying'), now, lease.j)
redis.call('HSET', lease.job, 'state', 'verifying', 'manifest', ARGV[4])
lease.state = 'verifying'
return receipt(lease)
