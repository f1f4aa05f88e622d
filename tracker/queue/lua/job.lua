-- All that is known of one job. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 job
-- Returns {'job', the crawl's cursor, { field, value, … of the job's hash }, finished record or '',
--          lease row of `_rows.lua` or {}, not before ms or ''}
--       | {'no_job'} | {'no_crawl'}

-- include: rows

local j = ARGV[1]
local job = key('job:' .. j)
local total, cursor = unpack(redis.call('HMGET', meta, 'total', 'cursor'))
if tonumber(j) >= tonumber(total) then
  return { 'no_job' }
end
local holder = redis.call('HGET', job, 'holder')
return {
  'job', tonumber(cursor), redis.call('HGETALL', job),
  redis.call('HGET', key('finished'), j) or '',
  holder_of(job, 'leased') and lease_row(j, job, holder) or {},
  redis.call('ZSCORE', key('retry'), j) or redis.call('ZSCORE', key('score'), j) or '',
}
