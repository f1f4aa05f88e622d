-- How an attempt ends without a shard, and where its job goes: back to the queue, or to the dead.

-- include: known
-- include: held
-- include: failures
-- include: attempts

-- Take a job from the attempt that holds it; the caller puts it somewhere else at once.
local function vacate(j, job, attempt)
  if redis.call('ZREM', key('leases'), j) == 1 then
    redis.call('ZREM', key('beats'), j)
    let_go(j, attempt)
  else
    redis.call('ZREM', key('verifying'), j)
  end
  redis.call('HDEL', job, 'holder', 'progress', 'manifest', 'claim')
end

-- Tell that every job is accepted or dead. Call it after a job became one of the two. It is told
-- again, with the new numbers, each time the crawl becomes finished again: a dead job may be
-- requeued, or its shard may still come.
local function publish_if_finished()
  local accepted, dead = redis.call('HLEN', key('finished')), redis.call('ZCARD', key('dead'))
  if accepted + dead == tonumber(redis.call('HGET', meta, 'total')) then
    publish({ type = 'crawl_finished', accepted = accepted, dead = dead })
  end
end

-- A draining crawl is finished as soon as nothing is leased or verified. Call it after an attempt
-- has ended.
local function finish_if_drained()
  if redis.call('HGET', meta, 'state') == 'draining'
    and redis.call('ZCARD', key('leases')) + redis.call('ZCARD', key('verifying')) == 0 then
    redis.call('HSET', meta, 'state', 'finished')
    publish({ type = 'crawl_state', state = 'finished' })
  end
end

-- A job without holder waits until `from`, ms, for its next lease.
local function put_back(j, job, from)
  local place = redis.call('HGET', job, 'stage') or 'retry'
  redis.call('ZADD', key(place), from, j)
  redis.call('HSET', job, 'state', 'pending')
end

-- What the remembered attempts after `since` add up to: how many count; how many were handed back;
-- how many accounts spent those that count; how many held the job at all.
local function tally(job, since, last)
  local sum = { charged = 0, released = 0, guilty = 0, holders = 0 }
  local guilty, holders = {}, {}
  for number = math.max(since, last - ATTEMPTS_KEPT) + 1, last do
    local attempt = load_attempt(job, number)
    local account = attempt.account
    if not holders[account] then
      holders[account], sum.holders = true, sum.holders + 1
    end
    if attempt.charged then
      sum.charged = sum.charged + 1
      if not guilty[account] then
        guilty[account], sum.guilty = true, sum.guilty + 1
      end
    elseif attempt.outcome == 'released' then
      sum.released = sum.released + 1
    end
  end
  return sum
end

-- The time until which a job waits for the `turn`-th time: twice as long at each turn, up to a
-- bound, and not as long as its neighbours.
local function not_before(turn)
  local delay, most = unpack(redis.call('HMGET', meta, 'delay_ms', 'max_delay_ms'))
  local jitter = 0.5 + time[2] % 1000 / 2000
  local doubled = delay * 2 ^ math.min(turn - 1, 40) -- no overflow: 0 * inf is no number
  return now + math.floor(math.min(tonumber(most), doubled) * jitter)
end

-- Where a job without holder goes after an ending: nil if it is dead, else its earliest next lease.
local function next_lease(job, outcome)
  if outcome == 'superseded' then
    return now -- an admin wants it done
  end
  local most, accounts, leases =
    unpack(redis.call('HMGET', meta, 'max_attempts', 'min_accounts', 'max_leases'))
  local since, last = unpack(redis.call('HMGET', job, 'since', 'attempt'))
  since, last = tonumber(since), tonumber(last)
  local sum = tally(job, since, last)
  local too_many = last - since >= tonumber(leases)
  -- no account kills a job alone, whatever it does with it, nor do a few
  if (sum.charged >= tonumber(most) and sum.guilty >= tonumber(accounts))
    or (too_many and sum.holders >= tonumber(accounts)) then
    return nil
  elseif too_many or outcome == 'failed' or outcome == 'invalid' then
    return not_before(last - since)
  elseif outcome == 'released' and sum.released > 1 then
    return not_before(sum.released - 1) -- once is a volunteer who leaves; again may be a loop
  end
  return now
end

-- End attempt `number` of job `j` as expired, released, failed, invalid or superseded.
-- `message` and `class` (of a failure) may be nil. Returns the job's new state.
local function end_attempt(j, job, number, attempt, outcome, message, class)
  attempt.outcome, attempt.ended_at = outcome, now
  attempt.message, attempt.class = message, class
  -- only the guilty party pays: not the job for a volunteer who leaves, or for line and server
  attempt.charged = not (outcome == 'released' or outcome == 'superseded'
    or class == 'network' or class == 'server') or nil
  save_attempt(job, number, attempt)
  blame(attempt)
  vacate(j, job, attempt)
  finish_if_drained()
  if class == 'server' then
    redis.call('HDEL', job, 'shun')
  else
    redis.call('HSET', job, 'shun', attempt.account)
  end
  publish({
    type = 'attempt_lost', job = crawl .. '/' .. j, account = attempt.account,
    worker = attempt.worker, attempt = number, outcome = outcome, message = message or '',
  })

  local from = next_lease(job, outcome)
  if not from then
    redis.call('ZADD', key('dead'), now, j)
    redis.call('HSET', job, 'state', 'dead')
    publish({
      type = 'job_died', job = crawl .. '/' .. j, message = message or '',
      attempt = tonumber(redis.call('HGET', job, 'attempt')),
    })
    publish_if_finished()
    return 'dead'
  end
  put_back(j, job, from)
  return 'pending'
end
