-- One token of an account is not taken any more.
--
-- KEYS  1 {accounts}
-- ARGV  1 account   2 token id   3 id of this call
-- Returns {'dropped', its label} (also when it is sent again) | {'unknown'}

-- include: once
-- include: tokens

local said = first_answer(ARGV[3])
if said then
  return said
end
if redis.call('SISMEMBER', root .. ':tokens:' .. ARGV[1], ARGV[2]) == 0 then
  return { 'unknown' }
end
local label = redis.call('HGET', root .. ':token:' .. ARGV[2], 'label') or ''
forget_token(ARGV[1], ARGV[2])
return answer(ARGV[3], { 'dropped', label })
