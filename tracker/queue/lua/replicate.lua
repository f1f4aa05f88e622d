-- Keep what a worker says of its shard, if the job went to another one's. Takes nothing in.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 account   4 what is kept of a replica (JSON)
-- Returns {'receipt', state, outcome or '', message}
--       | {'lost', why} | {'not_yours'} | {'no_job'} | {'no_crawl'}

-- include: replica

local lease, refusal = standing(ARGV[1], ARGV[2], ARGV[3])
if not lease then
  return refusal
elseif has_lost_to_another(lease) then
  return keep_replica(lease, ARGV[4])
elseif was_handed_in(lease) then
  return receipt(lease)
end
return lost(lease)
