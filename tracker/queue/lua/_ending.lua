-- How an attempt ends without a shard, and where its job goes: back to the queue, or to the dead.

-- include: known
-- include: attempts

-- Take a job from the attempt that holds it; the caller puts it somewhere else at once.
local function vacate(j, job, attempt)
  for _, place in ipairs({ 'leases', 'beats', 'verifying' }) do
    redis.call('ZREM', key(place), j)
  end
  redis.call('SREM', key('held:' .. attempt.account .. '/' .. attempt.worker), j)
  redis.call('HDEL', job, 'holder', 'progress', 'manifest')
end

-- Tell once that every job is accepted or dead. Call it after a job became one of the two.
local function publish_if_finished()
  local accepted, dead = redis.call('HLEN', key('finished')), redis.call('ZCARD', key('dead'))
  if accepted + dead == tonumber(redis.call('HGET', meta, 'total')) then
    publish({ type = 'crawl_finished', accepted = accepted, dead = dead })
  end
end

-- Whether a job is out of attempts: enough that count, by enough accounts; or too many of any sort.
local function is_spent(job, since, last)
  local most, accounts, leases =
    unpack(redis.call('HMGET', meta, 'max_attempts', 'min_accounts', 'max_leases'))
  local charged, by, distinct = 0, {}, 0
  for number = math.max(since, last - ATTEMPTS_KEPT) + 1, last do
    local attempt = load_attempt(job, number)
    if attempt.charged then
      charged = charged + 1
      if not by[attempt.account] then
        by[attempt.account] = true
        distinct = distinct + 1
      end
    end
  end
  return (charged >= tonumber(most) and distinct >= tonumber(accounts))
    or last - since >= tonumber(leases)
end

-- After a failure the job waits: twice as long each time, and not as long as its neighbours.
local function not_before(leases)
  local delay, most = unpack(redis.call('HMGET', meta, 'delay_ms', 'max_delay_ms'))
  local jitter = 0.5 + time[2] % 1000 / 2000
  return now + math.floor(math.min(tonumber(most), delay * 2 ^ (leases - 1)) * jitter)
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
  vacate(j, job, attempt)
  if outcome == 'released' or class == 'server' then
    redis.call('HDEL', job, 'shun')
  else
    redis.call('HSET', job, 'shun', attempt.account)
  end
  publish({
    type = 'attempt_lost', job = crawl .. '/' .. j, account = attempt.account,
    worker = attempt.worker, attempt = number, outcome = outcome, message = message or '',
  })

  local since, last = unpack(redis.call('HMGET', job, 'since', 'attempt'))
  since, last = tonumber(since), tonumber(last)
  if outcome ~= 'superseded' and is_spent(job, since, last) then
    redis.call('ZADD', key('dead'), now, j)
    redis.call('HSET', job, 'state', 'dead')
    publish({
      type = 'job_died', job = crawl .. '/' .. j, attempt = last, message = message or '',
    })
    publish_if_finished()
    return 'dead'
  end
  local waits = outcome == 'failed' or outcome == 'invalid'
  redis.call('ZADD', key('retry'), waits and not_before(last - since) or now, j)
  redis.call('HSET', job, 'state', 'pending')
  return 'pending'
end
