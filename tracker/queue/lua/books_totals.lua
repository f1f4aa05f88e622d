-- What is counted for the accepted jobs, at one instant; `tracker/books.py` compares it with what
-- their records add up to, and corrects it by differences, which no accept meanwhile disturbs.
--
-- KEYS  1 meta
-- ARGV  field of `counts` or `credits`, correction, …
-- Returns {'totals', now ms, { field, value, … of `counts` }, { the same of `credits` }}
--       | {'no_crawl'}

-- include: known

for i = 1, #ARGV, 2 do
  local place = string.find(ARGV[i], ':') and 'credits' or 'counts'
  redis.call('HINCRBY', key(place), ARGV[i], ARGV[i + 1])
end
return { 'totals', now, redis.call('HGETALL', key('counts')), redis.call('HGETALL', key('credits')) }
