-- Make a crawl visible, once, after its path list was staged.
--
-- KEYS  1 meta
-- ARGV  1 token of the staged path list   2 how many blocks it has   3 hash of what is added
--       4 the seed asked for, or ''   5… field, value, … of meta
-- Returns {'added'} (also when the same crawl is there already)
--       | {'conflict'} (another one of this name is there)
--       | {'unstaged'} (the list is gone or incomplete: stage it again)
--       | {'removing'} (the rest of a removed crawl of this name is still there)

-- include: crawl

local staged = key('staged:' .. ARGV[1])
local content, seed = unpack(redis.call('HMGET', meta, 'content', 'seed'))
if content then
  redis.call('UNLINK', staged)
  if content ~= ARGV[3] or (ARGV[4] ~= '' and ARGV[4] ~= seed) then
    return { 'conflict' }
  end
  return { 'added' }
end
if redis.call('EXISTS', key('removing')) == 1 then
  redis.call('UNLINK', staged)
  return { 'removing' }
end
if redis.call('HLEN', staged) ~= tonumber(ARGV[2]) then
  return { 'unstaged' }
end

redis.call('RENAME', staged, key('paths'))
redis.call('PERSIST', key('paths'))
redis.call('HSET', meta, unpack(ARGV, 5))
redis.call('HSET', meta, 'content', ARGV[3], 'state', 'active', 'cursor', 0, 'added_at', now)
publish({ type = 'crawl_added', jobs = tonumber(redis.call('HGET', meta, 'total')) })
return { 'added' }
