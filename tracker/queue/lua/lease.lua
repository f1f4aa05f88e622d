-- Hand the next job to one worker.
--
-- Jobs that were tried before come first, those due longest ahead. One that this account failed or
-- handed back last is passed over, and given to it only when nothing else is left. Intermediates
-- that wait to be scored come after all others, unless too many wait.
-- Asked again with the same secret, it answers the same. A caller that lost the secret too asks
-- `held`.
--
-- KEYS  1 meta
-- ARGV  1 account   2 worker   3 secret of the new lease   4 lease duration, ms
--       5 most leases of one worker   6 of one account
--       7 what becomes of a job from its beginning: 'hybrid' | 'fetch', or '' if it may have none
--       8 '1' if it may have one that waits to be scored
--       9 how many of those may be due before they come first
-- Returns {'leased', row of `_rows.lua`}
--       | {'idle', 'no_work' | 'paused' | 'draining' | 'quota'} | {'no_crawl'}

-- include: known
-- include: held
-- include: attempts
-- include: rows
-- include: permutation

local LOOK_AHEAD = 8 -- due jobs looked at, so that a long list of one's own failures costs little

local account, worker, secret = ARGV[1], ARGV[2], ARGV[3]
local holds = 0
-- a client whose connection broke before the answer came asks once more, with the same secret
for _, j in ipairs(redis.call('SMEMBERS', held_by_worker(account, worker))) do
  local attempt, number = hold_of(j, account, worker)
  if not attempt then
    drop_hold(j, account, worker)
  elseif attempt.lease == secret then
    return { 'leased', lease_row(j, key('job:' .. j), number) }
  else
    holds = holds + 1
  end
end

local state, total, cursor, seed =
  unpack(redis.call('HMGET', meta, 'state', 'total', 'cursor', 'seed'))
if state ~= 'active' then
  return { 'idle', state == 'finished' and 'no_work' or state }
elseif holds >= tonumber(ARGV[5])
  or redis.call('SCARD', held_by_account(account)) >= tonumber(ARGV[6]) then
  return { 'idle', 'quota' }
end

local own, owns_place -- the first that is due, but that this account gave up last

-- Each returns a job and the zset that it waits in, if it does.
local function due(place)
  local first = redis.call('ZRANGE', key(place), '-inf', now, 'BYSCORE', 'LIMIT', 0, LOOK_AHEAD)
  for _, candidate in ipairs(first) do
    if redis.call('HGET', key('job:' .. candidate), 'shun') ~= account then
      return candidate, place
    elseif not own then
      own, owns_place = candidate, place
    end
  end
end

local function fresh()
  if tonumber(cursor) < tonumber(total) then
    redis.call('HINCRBY', meta, 'cursor', 1)
    return permute(tonumber(cursor), tonumber(total), tonumber(seed))
  end
end

local begins, scores = ARGV[7] ~= '', ARGV[8] == '1'
local scores_first = scores
  and (not begins or redis.call('ZCOUNT', key('score'), '-inf', now) > tonumber(ARGV[9]))
local j, place
if scores_first then
  j, place = due('score')
end
if not j and begins then
  j, place = due('retry')
  j = j or fresh()
end
if not j and scores and not scores_first then
  j, place = due('score')
end
if not j then
  j, place = own, owns_place
end
if not j then
  return { 'idle', 'no_work' }
end

local job = key('job:' .. j)
local number = redis.call('HINCRBY', job, 'attempt', 1)
local attempt = { lease = secret, account = account, worker = worker, leased_at = now }
attempt.stage = place == 'score' and 'score' or ARGV[7] == 'fetch' and 'fetch' or nil
local text, deadline = cjson.encode(attempt), now + ARGV[4]
redis.call('HSET', job, 'state', 'leased', 'holder', number, 'a:' .. number, text)
if number == 1 then
  redis.call('HSET', job, 'since', 0)
elseif number > ATTEMPTS_KEPT then
  local forgotten = number - ATTEMPTS_KEPT
  redis.call('HDEL', job, 'a:' .. forgotten, 'r:' .. forgotten)
end
if place then
  redis.call('ZREM', key(place), j)
end
redis.call('ZADD', key('leases'), deadline, j)
redis.call('ZADD', key('beats'), now, j)
take_hold(j, attempt)
redis.call('HINCRBY', key('counts'), 'attempts', 1)
local fetched = attempt.stage == 'score' and redis.call('HGET', job, 'fetched') or ''
return { 'leased', { tonumber(j), number, text, now, deadline, '', fetched } } -- as `lease_row`
