-- The worker could not do the job; it waits a while for another try, or is dead.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 account   4 message
--       5 who is to blame: 'job' | 'worker' | 'network' | 'server'
-- Returns {'receipt', state, 'failed', message} (also when it is sent again)
--       | {'lost', why} | {'not_yours'} | {'no_job'} | {'no_crawl'}

-- include: standing
-- include: ending

local lease, refusal = standing(ARGV[1], ARGV[2], ARGV[3])
if not lease then
  return refusal
end
if lease.holds and lease.state == 'leased' then
  lease.state =
    end_attempt(lease.j, lease.job, lease.number, lease.attempt, 'failed', ARGV[4], ARGV[5])
elseif lease.attempt.outcome ~= 'failed' then
  return lost(lease)
end
return receipt(lease)
