-- What readers get of a lease and of a submission; `../replies.py` knows the columns.

-- include: known
-- include: attempts

-- { j, attempt number, attempt (JSON), last heartbeat ms, deadline ms, progress (JSON or ''),
--   at stage score `fetched` of the job (JSON), else '' }
-- For a lease that is over, its times of lease and end stand for the two times.
local function lease_row(j, job, number)
  local text, progress, fetched =
    unpack(redis.call('HMGET', job, 'a:' .. number, 'progress', 'fetched'))
  local attempt = cjson.decode(text)
  local beat = redis.call('ZSCORE', key('beats'), j) or attempt.leased_at
  local deadline = redis.call('ZSCORE', key('leases'), j) or attempt.ended_at
  return {
    tonumber(j), tonumber(number), text, tonumber(beat), tonumber(deadline), progress or '',
    attempt.stage == 'score' and fetched or '',
  }
end

-- { j, attempt number, attempt (JSON), manifest (JSON), at stage score `fetched` (JSON), else '' };
-- nil for what is in line, but is no shard
local function submission_row(j)
  local job = key('job:' .. j)
  local number, manifest, fetched =
    unpack(redis.call('HMGET', job, 'holder', 'manifest', 'fetched'))
  local text = number and redis.call('HGET', job, 'a:' .. number)
  if not text then
    return nil
  end
  local scored = fetched and cjson.decode(text).stage == 'score'
  return { tonumber(j), tonumber(number), text, manifest, scored and fetched or '' }
end
