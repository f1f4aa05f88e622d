-- A verifier is still at work on a shard that it claimed: hide it for as long again.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 id of the claim   4 for how long, ms
-- Returns {'kept'} (also when it is sent again)
--       | {'lost', why} (it was judged or taken away, or is another verifier's now)
--       | {'no_job'} | {'no_crawl'}

-- include: claim

local lease, refusal = standing(ARGV[1], ARGV[2], '')
if not lease then
  return refusal
elseif not (lease.holds and lease.state == 'verifying') then
  return lost(lease)
elseif not has_claim(lease, ARGV[3]) then
  return { 'lost', 'claimed' }
end
redis.call('ZADD', key('verifying'), now + ARGV[4], lease.j)
return { 'kept' }
