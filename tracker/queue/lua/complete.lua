-- Take an uploaded shard in for verification, if this lease holds the job, or held it and nobody
-- else has it now. If the job went to another worker's result, keep a replica instead. Sent again,
-- it gets the receipt of what became of the shard.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 account   4 manifest (JSON)   5 the manifest's stage
--       6 what is kept of a replica (JSON)
-- Returns {'receipt', state, outcome or '', message}
--       | {'wrong_stage', the lease's stage}
--       | {'lost', why} | {'not_yours'} | {'no_job'} | {'no_crawl'}

-- include: standing
-- include: held
-- include: reopen
-- include: replica

local lease, refusal = standing(ARGV[1], ARGV[2], ARGV[3])
if not lease then
  return refusal
end
local attempt = lease.attempt
local holds = lease.holds and lease.state == 'leased'
if not (holds or may_come_late(lease)) then
  if has_lost_to_another(lease) then
    return keep_replica(lease, ARGV[6])
  elseif was_handed_in(lease) then
    return receipt(lease)
  end
  return lost(lease)
end
local stage = attempt.stage or 'hybrid'
if ARGV[5] ~= stage then
  return { 'wrong_stage', stage }
end
if holds then
  attempt.late = tonumber(redis.call('ZSCORE', key('leases'), lease.j)) < now or nil
else
  reopen(lease)
  attempt.late = true
end

attempt.submitted_at = now
save_attempt(lease.job, lease.number, attempt)
redis.call('ZREM', key('leases'), lease.j)
redis.call('ZREM', key('beats'), lease.j)
let_go(lease.j, attempt)
redis.call('ZADD', key('verifying'), now, lease.j)
redis.call('HSET', lease.job, 'state', 'verifying', 'manifest', ARGV[4])
lease.state = 'verifying'
return receipt(lease)
