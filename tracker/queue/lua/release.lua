-- The worker hands the job back; another account may have it at once, the first time. A job that
-- is handed back again and again waits, longer each time.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 account   4 reason
-- Returns {'receipt', state, 'released', reason} (also when it is sent again)
--       | {'lost', why} | {'not_yours'} | {'no_job'} | {'no_crawl'}

-- include: standing
-- include: ending

local lease, refusal = standing(ARGV[1], ARGV[2], ARGV[3])
if not lease then
  return refusal
end
if lease.holds and lease.state == 'leased' then
  lease.state = end_attempt(lease.j, lease.job, lease.number, lease.attempt, 'released', ARGV[4])
elseif lease.attempt.outcome ~= 'released' then
  return lost(lease)
end
return receipt(lease)
