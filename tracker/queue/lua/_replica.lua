-- A result that came when another one was there already: nothing more is asked of its worker, and
-- what it says of the result is kept, so that the two can be compared.

-- include: standing

-- Whether this lease lost the job to a result that is accepted or verified.
local function has_lost_to_another(lease)
  return was_taken(lease) and not lease.holds
    and (lease.state == 'verifying' or lease.state == 'accepted'
      or (lease.attempt.stage == 'fetch' and not is_wanted(lease)))
end

-- Keep it, once, as `r:N` of the job's hash: it goes when the attempt is forgotten. `text` is what
-- is kept, JSON. Returns the receipt.
local function keep_replica(lease, text)
  local field = 'r:' .. lease.number
  if redis.call('HEXISTS', lease.job, field) == 0 then
    local replica = cjson.decode(text)
    replica.at = now
    redis.call('HSET', lease.job, field, cjson.encode(replica))
    local became = lease.state == 'verifying' and 'is being verified' or 'was accepted'
    lease.attempt.outcome = 'superseded'
    lease.attempt.message =
      "another worker's result " .. became .. '; yours is kept as a replica'
    save_attempt(lease.job, lease.number, lease.attempt)
  end
  return receipt(lease)
end
