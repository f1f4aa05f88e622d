-- Say whether a crawl hands out jobs.
--
-- KEYS  1 meta
-- ARGV  1 'active' | 'paused' | 'draining' | 'finished'
-- Returns {'ok', the state that it is in now} (also when it is sent again)
--       | {'closed'} (finished, so it cannot be paused) | {'no_crawl'}

-- include: ending

local asked, before = ARGV[1], redis.call('HGET', meta, 'state')
if before == 'finished' then
  if asked == 'paused' then
    return { 'closed' }
  elseif asked == 'draining' then
    asked = 'finished' -- it is drained
  end
end
if asked ~= before then
  redis.call('HSET', meta, 'state', asked)
  publish({ type = 'crawl_state', state = asked })
end
finish_if_drained()
return { 'ok', redis.call('HGET', meta, 'state') }
