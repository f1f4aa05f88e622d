-- Several jobs as a list shows them. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 … jobs
-- Returns {'jobs', rows} | {'no_crawl'}
--   row: { j, state, in it since ms, attempt number, attempt (JSON), last ended attempt (JSON) or '',
--          last heartbeat ms or '', deadline ms or '', progress (JSON) or '' }
--   of a job that was never leased, or is accepted, there is no row

-- include: known
-- include: last_ended

local rows = {}
for _, j in ipairs(ARGV) do
  local job = key('job:' .. j)
  local state, last, holder, progress =
    unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder', 'progress'))
  if state and state ~= 'accepted' then
    local number, attempt, ended = its_attempts(job, state, last, holder)
    if attempt then
      table.insert(rows, {
        tonumber(j), state, tonumber(in_state_since(j, state, attempt)),
        number, cjson.encode(attempt), ended and cjson.encode(ended) or '',
        redis.call('ZSCORE', key('beats'), j) or '', redis.call('ZSCORE', key('leases'), j) or '',
        progress or '',
      })
    end
  end
end
return { 'jobs', rows }
