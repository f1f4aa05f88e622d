-- Which verifier checks a shard: the last that claimed it, and no other may judge it.

-- include: standing

-- `claim` is the id of a claim, or '' for a caller that needs none.
local function has_claim(lease, claim)
  return claim == '' or redis.call('HGET', lease.job, 'claim') == claim
end
