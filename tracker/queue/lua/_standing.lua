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

-- Whether the job still wants what this attempt makes: an intermediate while it has none; a shard
-- scored from the intermediate that it has, not from one given up before; a hybrid's shard always.
local function is_wanted(lease)
  local stage = lease.attempt.stage
  if not stage then
    return true
  end
  local fetched = redis.call('HGET', lease.job, 'fetched')
  if stage == 'fetch' then
    return not fetched
  end
  return fetched and lease.number > cjson.decode(fetched).attempt
end

-- Whether the lease was taken away: its worker was silent, or an admin did it.
local function was_taken(lease)
  return lease.attempt.outcome == 'expired' or lease.attempt.outcome == 'superseded'
end

-- Whether a result of this lease is welcome although the lease is over: nobody else has the job.
local function may_come_late(lease)
  return was_taken(lease) and (lease.state == 'pending' or lease.state == 'dead')
    and is_wanted(lease)
end

-- Whether something was handed in under this lease, and checked or waits for it.
local function was_handed_in(lease)
  local outcome = lease.attempt.outcome
  return (lease.holds and lease.state ~= 'leased')
    or outcome == 'ok' or outcome == 'late_ok' or outcome == 'invalid'
end

local function receipt(lease)
  return { 'receipt', lease.state, lease.attempt.outcome or '', lease.attempt.message or '' }
end

-- Why this lease does not hold the job any more.
local function lost(lease)
  local outcome = lease.attempt.outcome
  if lease.holds or outcome == 'ok' or outcome == 'late_ok' then
    return { 'lost', 'handed_in' }
  elseif redis.call('HEXISTS', lease.job, 'r:' .. lease.number) == 1 then
    return { 'lost', 'replica' }
  elseif outcome == 'superseded' then
    return { 'lost', outcome, lease.attempt.message }
  elseif lease.attempt.stage == 'fetch' and not is_wanted(lease) then
    return { 'lost', 'fetched' }
  elseif lease.state == 'pending' or lease.state == 'dead' then
    return { 'lost', outcome }
  end
  return { 'lost', lease.state }
end
