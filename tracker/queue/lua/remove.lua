-- Remove a crawl that nobody has done anything for yet, in slices.
--
-- KEYS  1 meta
-- ARGV  1 id of the call   2 how many jobs at most
-- Returns {'removed'} (also when it is sent again) | {'more'} (ask again, as another call)
--       | {'busy', jobs leased or verified} | {'worked', results accepted} | {'no_crawl'}

-- include: once

local again = first_answer(ARGV[1])
if again then
  return again
end

local removing = key('removing')
if redis.call('EXISTS', meta) == 1 then
  local accepted = redis.call('HLEN', key('finished'))
    + (redis.call('HGET', key('counts'), 'fetched') or 0)
  local busy = redis.call('ZCARD', key('leases')) + redis.call('ZCARD', key('verifying'))
  if accepted > 0 then
    return { 'worked', accepted }
  elseif busy > 0 then
    return { 'busy', busy }
  end
  redis.call('RENAME', meta, removing) -- from now on, nobody finds it
elseif redis.call('EXISTS', removing) == 0 then
  return { 'no_crawl' }
end

local left = tonumber(ARGV[2])
for _, place in ipairs({ 'retry', 'dead' }) do
  local popped = redis.call('ZPOPMIN', key(place), left)
  for i = 1, #popped, 2 do
    redis.call('UNLINK', key('job:' .. popped[i]))
  end
  left = left - #popped / 2
end
if left == 0 then
  return answer(ARGV[1], { 'more' })
end
redis.call('UNLINK', key('paths'), key('counts'), key('credits'), key('events'), removing)
return answer(ARGV[1], { 'removed' })
