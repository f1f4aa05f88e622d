-- What readers get of a lease and of a submission; `../replies.py` knows the columns.

-- include: known
-- include: attempts

-- { j, attempt number, attempt (JSON), last heartbeat ms, deadline ms, progress (JSON or '') }
-- For a lease that is over, its times of lease and end stand for the two times.
local function lease_row(j, job, number)
  local text, progress = unpack(redis.call('HMGET', job, 'a:' .. number, 'progress'))
  local attempt = cjson.decode(text)
  local beat = redis.call('ZSCORE', key('beats'), j) or attempt.leased_at
  local deadline = redis.call('ZSCORE', key('leases'), j) or attempt.ended_at
  return { tonumber(j), tonumber(number), text, tonumber(beat), tonumber(deadline), progress or '' }
end

-- { j, attempt number, attempt (JSON), manifest (JSON) }
local function submission_row(j)
  local job = key('job:' .. j)
  local number, manifest = unpack(redis.call('HMGET', job, 'holder', 'manifest'))
  return { tonumber(j), tonumber(number), redis.call('HGET', job, 'a:' .. number), manifest }
end
