-- Make a verified shard part of the dataset: the job is done, the account has its credit. An
-- intermediate is made the job's: it waits to be scored, with fresh attempts.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 id of the claim, or ''   4 kept   5 pairs   6 bytes
--       7… drop reason, count, …
-- Returns {'receipt', 'accepted', 'ok' | 'late_ok', ''} (also when it is sent again)
--       | {'receipt', state, 'ok' | 'late_ok', ''} for an intermediate (also …)
--       | {'lost', why} | {'no_job'} | {'no_crawl'}

-- include: claim
-- include: ending

local EVERY_ATTEMPT_KEPT = 7 * 24 * 3600 -- s: how long the losers of a job may still come and ask
local RATE_KEPT = 26 * 3600 -- s: rates are shown for a day

local lease, refusal = standing(ARGV[1], ARGV[2], '')
if not lease then
  return refusal
end
local j, job, attempt = lease.j, lease.job, lease.attempt
if attempt.outcome == 'ok' or attempt.outcome == 'late_ok' then
  return receipt(lease)
elseif not (lease.holds and lease.state == 'verifying') then
  return lost(lease)
elseif not has_claim(lease, ARGV[3]) then
  return { 'lost', 'claimed' }
end

local kept, pairs_seen, bytes = ARGV[4], ARGV[5], ARGV[6]
local last, manifest, fetched =
  unpack(redis.call('HMGET', job, 'attempt', 'manifest', 'fetched'))
attempt.outcome, attempt.ended_at = attempt.late and 'late_ok' or 'ok', now
absolve(attempt)
vacate(j, job, attempt)

if attempt.stage == 'fetch' then
  save_attempt(job, lease.number, attempt)
  redis.call('HSET', job, 'stage', 'score', 'since', last, 'fetched', cjson.encode({
    lease = attempt.lease, account = attempt.account, worker = attempt.worker,
    attempt = lease.number, manifest = manifest,
  }))
  redis.call('HDEL', job, 'shun')
  put_back(j, job, now)
  lease.state = 'pending'
  redis.call('HINCRBY', key('counts'), 'fetched', 1)
  redis.call('HINCRBY', key('credits'), 'fetched:' .. attempt.account, 1)
  publish({
    type = 'fetch_accepted', job = crawl .. '/' .. j, account = attempt.account,
    worker = attempt.worker, kept = tonumber(kept), pairs = tonumber(pairs_seen),
  })
  finish_if_drained()
  return receipt(lease)
end

lease.state = 'accepted'
if last == '1' then
  redis.call('UNLINK', job) -- the finished record says it all
else
  save_attempt(job, lease.number, attempt)
  redis.call('HDEL', job, 'stage', 'fetched')
  redis.call('HSET', job, 'state', 'accepted', 'holder', lease.number)
  redis.call('EXPIRE', job, EVERY_ATTEMPT_KEPT)
end
local record = {
  attempt.lease, attempt.account, attempt.worker, lease.number, attempt.late and 1 or 0,
  kept, pairs_seen, bytes, string.format('%d', now),
}
if attempt.stage == 'score' then
  table.insert(record, cjson.decode(fetched).account)
end
redis.call('HSET', key('finished'), j, table.concat(record, ' '))

local counts = key('counts')
redis.call('HINCRBY', counts, 'kept', kept)
redis.call('HINCRBY', counts, 'pairs', pairs_seen)
redis.call('HINCRBY', counts, 'bytes', bytes)
for i = 7, #ARGV, 2 do
  redis.call('HINCRBY', counts, 'drop:' .. ARGV[i], ARGV[i + 1])
end
redis.call('HINCRBY', key('credits'), 'jobs:' .. attempt.account, 1)
redis.call('HINCRBY', key('credits'), 'kept:' .. attempt.account, kept)
local rate = key('rate:' .. math.floor(now / 3600000))
redis.call('HINCRBY', rate, math.floor(now / 60000), 1)
redis.call('EXPIRE', rate, RATE_KEPT)

publish({
  type = 'shard_accepted', job = crawl .. '/' .. j, account = attempt.account,
  worker = attempt.worker, kept = tonumber(kept), pairs = tonumber(pairs_seen),
  accepted = redis.call('HLEN', key('finished')),
  total = tonumber(redis.call('HGET', meta, 'total')),
})
publish_if_finished()
finish_if_drained()
return receipt(lease)
