-- What is counted for the accepted jobs, at one instant; `tracker/books.py` compares it with what
-- their records add up to, and corrects it by differences, which no accept meanwhile disturbs.
--
-- KEYS  1 meta
-- ARGV  1 id of the call   2… field of `counts` or `credits`, correction, …
-- Returns {'totals', now ms, { field, value, … of `counts` }, { the same of `credits` }}
--       | {'no_crawl'}

-- include: known
-- include: once

if #ARGV > 1 then
  local again = first_answer(ARGV[1])
  if again then
    return again
  end
  answer(ARGV[1], { 'totals', now, {}, {} }) -- who corrects reads no more of it
end
for i = 2, #ARGV, 2 do
  local place = string.find(ARGV[i], ':') and 'credits' or 'counts'
  redis.call('HINCRBY', key(place), ARGV[i], ARGV[i + 1])
end
return { 'totals', now, redis.call('HGETALL', key('counts')), redis.call('HGETALL', key('credits')) }
