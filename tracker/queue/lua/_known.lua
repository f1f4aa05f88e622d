-- As `crawl`, for a crawl that must exist: the script answers {'no_crawl'} if it does not.

-- include: crawl
if redis.call('EXISTS', meta) == 0 then
  return { 'no_crawl' }
end
