-- Hand the next job to one worker.
--
-- Jobs that were tried before come first, those due longest ahead. One that this account failed or
-- handed back last is passed over, and given to it only when nothing else is left.
-- Asked again with the same secret, it answers the same.
--
-- KEYS  1 meta
-- ARGV  1 account   2 worker   3 secret of the new lease   4 lease duration, ms
--       5 most leases of one worker
-- Returns {'leased', row of `_rows.lua`}
--       | {'idle', 'no_work' | 'paused' | 'quota'} | {'no_crawl'}

-- include: known
-- include: attempts
-- include: rows
-- include: permutation

local LOOK_AHEAD = 8 -- due jobs looked at, so that a long list of one's own failures costs little

local account, worker, secret = ARGV[1], ARGV[2], ARGV[3]
local held = key('held:' .. account .. '/' .. worker)
-- a client whose connection broke before the answer came asks once more, with the same secret
for _, j in ipairs(redis.call('SMEMBERS', held)) do
  local job = key('job:' .. j)
  local number = redis.call('HGET', job, 'holder')
  if load_attempt(job, number).lease == secret then
    return { 'leased', lease_row(j, job, number) }
  end
end

local state, total, cursor, seed =
  unpack(redis.call('HMGET', meta, 'state', 'total', 'cursor', 'seed'))
if state == 'paused' then
  return { 'idle', 'paused' }
elseif redis.call('SCARD', held) >= tonumber(ARGV[5]) then
  return { 'idle', 'quota' }
end

local j, own
local due = redis.call('ZRANGE', key('retry'), '-inf', now, 'BYSCORE', 'LIMIT', 0, LOOK_AHEAD)
for _, candidate in ipairs(due) do
  if redis.call('HGET', key('job:' .. candidate), 'shun') ~= account then
    j = candidate
    break
  end
  own = own or candidate
end
if not j and tonumber(cursor) < tonumber(total) then
  j = permute(tonumber(cursor), tonumber(total), tonumber(seed))
  redis.call('HINCRBY', meta, 'cursor', 1)
end
j = j or own
if not j then
  return { 'idle', 'no_work' }
end

local job = key('job:' .. j)
local number = redis.call('HINCRBY', job, 'attempt', 1)
redis.call('HSETNX', job, 'since', 0)
redis.call('HSET', job, 'state', 'leased', 'holder', number)
save_attempt(job, number, { lease = secret, account = account, worker = worker, leased_at = now })
redis.call('HDEL', job, 'a:' .. number - ATTEMPTS_KEPT)
redis.call('ZREM', key('retry'), j)
redis.call('ZADD', key('leases'), now + ARGV[4], j)
redis.call('ZADD', key('beats'), now, j)
redis.call('SADD', held, j)
redis.call('HINCRBY', key('counts'), 'attempts', 1)
return { 'leased', lease_row(j, job, number) }
