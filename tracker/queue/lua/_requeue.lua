-- What a requeue does to a job that is leased or dead, and the note by which it can be undone.

-- include: ending

local ACTION_KEPT = 24 * 3600 -- s: how long an action can be undone

-- Remember in `action:ID` how the job was, unless `action` is ''.
local function note_before(action, j, job)
  if action == '' then
    return
  end
  local note = {}
  local state, last = unpack(redis.call('HMGET', job, 'state', 'attempt'))
  note.was, note.last = state, tonumber(last)
  if state == 'leased' then
    local fields = redis.call('HMGET', job, 'holder', 'shun', 'progress')
    note.holder, note.shun, note.progress = tonumber(fields[1]), fields[2], fields[3]
    note.lease = load_attempt(job, note.holder).lease
    note.left = redis.call('ZSCORE', key('leases'), j) - now
    note.beat = tonumber(redis.call('ZSCORE', key('beats'), j))
  else
    local fields = redis.call('HMGET', job, 'since', 'stage', 'fetched')
    note.since, note.stage, note.fetched = tonumber(fields[1]), fields[2], fields[3]
    note.dead = tonumber(redis.call('ZSCORE', key('dead'), j))
  end
  redis.call('HSET', key('action:' .. action), j, cjson.encode(note))
  redis.call('EXPIRE', key('action:' .. action), ACTION_KEPT)
end

-- A leased job is taken from its worker; a dead one gets fresh attempts, from the start.
local function requeue_job(j, job, reason)
  local state, holder, last = unpack(redis.call('HMGET', job, 'state', 'holder', 'attempt'))
  if state == 'leased' then
    end_attempt(j, job, tonumber(holder), load_attempt(job, holder), 'superseded', reason)
  else
    redis.call('ZREM', key('dead'), j)
    redis.call('ZADD', key('retry'), now, j)
    redis.call('HSET', job, 'state', 'pending', 'since', last)
    redis.call('HDEL', job, 'stage', 'fetched') -- its intermediate may be what killed it
  end
end
