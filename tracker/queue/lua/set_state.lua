-- Pause or resume a crawl.
--
-- KEYS  1 meta
-- ARGV  1 'paused' | 'active'
-- Returns {'ok'} | {'no_crawl'}

-- include: known

redis.call('HSET', meta, 'state', ARGV[1])
return { 'ok' }
