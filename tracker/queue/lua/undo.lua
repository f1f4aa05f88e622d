-- Put jobs back as they were before an action, those that nobody has touched since: leased again
-- under the same lease, with as much time as it had left; or dead again. Sent again, it answers
-- the same.
--
-- KEYS  1 meta
-- ARGV  1 id of the action   2 '1': change nothing, only tell   3… jobs
-- Returns {'verdicts', for each job 'undone' | 'taken' (by another lease) | 'handed_in'
--          | 'changed' (in another way) | 'unknown' (not of this action, or a day has passed)}
--       | {'no_crawl'}

-- include: known
-- include: ending

local ACTION_KEPT = 24 * 3600 -- s, as in `_requeue.lua`

local notes, undone = key('action:' .. ARGV[1]), key('undone:' .. ARGV[1])

-- What keeps job `j` from being as it was, or nil.
local function obstacle(note, job)
  local state, last, since = unpack(redis.call('HMGET', job, 'state', 'attempt', 'since'))
  if not state or state == 'verifying' or state == 'accepted' then
    return 'handed_in' -- an accepted job's hash may be gone
  elseif state == 'leased' or tonumber(last) ~= note.last then
    return 'taken'
  elseif state ~= 'pending' then
    return 'changed'
  elseif note.was == 'dead' then
    return tonumber(since) ~= note.last and 'changed' or nil
  end
  local attempt = load_attempt(job, note.holder)
  local closed = redis.call('HGET', meta, 'state') == 'finished' -- it ran dry without this lease
  local same = attempt and attempt.lease == note.lease and attempt.outcome == 'superseded'
  return (closed or not same) and 'changed' or nil
end

local function restore(field, job, value)
  if value then
    redis.call('HSET', job, field, value)
  else
    redis.call('HDEL', job, field)
  end
end

local function give_back(j, note, job)
  redis.call('ZREM', key('retry'), j)
  redis.call('ZREM', key('score'), j)
  if note.was == 'dead' then
    redis.call('HSET', job, 'state', 'dead', 'since', note.since)
    restore('stage', job, note.stage)
    restore('fetched', job, note.fetched)
    redis.call('ZADD', key('dead'), note.dead, j)
    publish_if_finished()
    return
  end
  local attempt = load_attempt(job, note.holder)
  attempt.outcome, attempt.ended_at, attempt.message, attempt.charged = nil, nil, nil, nil
  save_attempt(job, note.holder, attempt)
  redis.call('HSET', job, 'state', 'leased', 'holder', note.holder)
  restore('shun', job, note.shun)
  restore('progress', job, note.progress)
  redis.call('ZADD', key('leases'), now + note.left, j)
  redis.call('ZADD', key('beats'), note.beat, j)
  take_hold(j, attempt)
end

local verdicts = {}
for i = 3, #ARGV do
  local j = ARGV[i]
  local job, text = key('job:' .. j), redis.call('HGET', notes, j)
  local found = 'unknown'
  if redis.call('SISMEMBER', undone, j) == 1 then
    found = 'undone'
  elseif text then
    local note = cjson.decode(text)
    found = obstacle(note, job) or 'undone'
    if found == 'undone' and ARGV[2] ~= '1' then
      give_back(j, note, job)
      redis.call('SADD', undone, j)
      redis.call('EXPIRE', undone, ACTION_KEPT)
    end
  end
  verdicts[i - 2] = found
end
return { 'verdicts', verdicts }
