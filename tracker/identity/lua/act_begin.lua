-- An act is under way, unless it was begun before. Sent again with the same mark it is as before.
--
-- KEYS  1 {audit}
-- ARGV  1 account   2 HASH   3 how many acts of the account are known   4 the mark   5 ms
-- Returns {'begun'} | {'known', what lies there}

-- include: acts

local answer = answer_key(ARGV[2])
local known = redis.call('GET', answer)
if known and known ~= ARGV[4] then
  return { 'known', known }
end
redis.call('SET', answer, ARGV[4], 'PX', ARGV[5])
remember(ARGV[1], ARGV[2], tonumber(ARGV[3]))
return { 'begun' }
