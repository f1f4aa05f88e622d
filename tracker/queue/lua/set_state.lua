-- Say whether a crawl hands out jobs.
--
-- KEYS  1 meta
-- ARGV  1 'active' | 'paused' | 'draining' | 'finished'
-- Returns {'ok', the state that it is in now} | {'closed'} (finished, so it cannot be paused)
--       | {'no_crawl'}

-- include: ending

local asked = ARGV[1]
if redis.call('HGET', meta, 'state') == 'finished' then
  if asked == 'paused' then
    return { 'closed' }
  elseif asked == 'draining' then
    asked = 'finished' -- it is drained
  end
end
redis.call('HSET', meta, 'state', asked)
finish_if_drained()
return { 'ok', redis.call('HGET', meta, 'state') }
