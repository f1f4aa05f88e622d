-- A shard was found invalid; its job waits a while for another try, or is dead.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 id of the claim, or ''   4 what is wrong
-- Returns {'receipt', state, 'invalid', message} (also when it is sent again)
--       | {'lost', why} | {'no_job'} | {'no_crawl'}

-- include: claim
-- include: ending

local lease, refusal = standing(ARGV[1], ARGV[2], '')
if not lease then
  return refusal
end
if lease.holds and lease.state == 'verifying' then
  if not has_claim(lease, ARGV[3]) then
    return { 'lost', 'claimed' }
  end
  lease.state = end_attempt(lease.j, lease.job, lease.number, lease.attempt, 'invalid', ARGV[4])
elseif lease.attempt.outcome ~= 'invalid' then
  return lost(lease)
end
return receipt(lease)
