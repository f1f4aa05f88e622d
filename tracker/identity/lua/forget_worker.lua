-- The owner of a worker wants it off the list.
--
-- KEYS  1 {accounts}
-- ARGV  1 account   2 worker   3 id of this call
-- Returns {'forgotten'} (also when it is sent again) | {'no_worker'}
--       | {'held'}: an admin has set its state, which must last

-- include: once
-- include: standing

local said = first_answer(ARGV[3])
if said then
  return said
end
local hash = root .. ':worker:' .. ARGV[1] .. '/' .. ARGV[2]
if redis.call('EXISTS', hash) == 0 then
  return { 'no_worker' }
end
if standing_in(hash)[1] ~= '' then
  return { 'held' }
end
redis.call('DEL', hash)
redis.call('ZREM', root .. ':workers:' .. ARGV[1], ARGV[2])
redis.call('ZREM', root .. ':seen', ARGV[1] .. '/' .. ARGV[2])
return answer(ARGV[3], { 'forgotten' })
