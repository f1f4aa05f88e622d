-- How a lease stands to its job: what every script asks before it believes a caller.

-- include: known
-- include: attempts

-- Returns a table: j, job (key), state, number and attempt (the lease's own), holds (this attempt
-- holds the job, or it is its shard that is verified or accepted).
-- Or nil and a refusal: {'no_job'}, {'not_yours'} or {'lost', why}.
local function standing(j, secret, account)
  local job = key('job:' .. j)
  local state, last, holder = unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder'))
  if state then
    for number = tonumber(last), math.max(1, last - ATTEMPTS_KEPT + 1), -1 do
      local attempt = load_attempt(job, number)
      if attempt.lease == secret then
        if account ~= '' and attempt.account ~= account then
          return nil, { 'not_yours' }
        end
        return {
          j = j, job = job, state = state,
          number = number, attempt = attempt, holds = tonumber(holder) == number,
        }
      end
    end
  end

  local finished = redis.call('HGET', key('finished'), j)
  if finished then
    local lease, owner, worker, number, late =
      string.match(finished, '^(%S+) (%S+) (%S+) (%S+) (%S+)')
    if lease ~= secret then
      return nil, { 'lost', 'accepted' }
    elseif account ~= '' and owner ~= account then
      return nil, { 'not_yours' }
    end
    return {
      j = j, job = job, state = 'accepted', number = tonumber(number), holds = true,
      attempt = {
        lease = lease, account = owner, worker = worker,
        outcome = late == '1' and 'late_ok' or 'ok',
      },
    }
  end

  if tonumber(j) >= tonumber(redis.call('HGET', meta, 'total')) then
    return nil, { 'no_job' }
  end
  return nil, { 'lost', 'unknown' }
end

-- Whether a result of this lease is welcome although the lease is over: it was taken away because
-- the worker was silent, and nobody else has the job.
local function may_come_late(lease)
  local outcome = lease.attempt.outcome
  return (outcome == 'expired' or outcome == 'superseded')
    and (lease.state == 'pending' or lease.state == 'dead')
end

local function receipt(lease)
  return { 'receipt', lease.state, lease.attempt.outcome or '', lease.attempt.message or '' }
end

-- Why this lease does not hold the job any more.
local function lost(lease)
  if lease.holds then
    return { 'lost', 'handed_in' }
  elseif lease.state == 'pending' or lease.state == 'dead' then
    return { 'lost', lease.attempt.outcome }
  end
  return { 'lost', lease.state }
end
