-- One token of an account is not taken any more.
--
-- KEYS  1 {accounts}
-- ARGV  1 account   2 token id
-- Returns {'dropped', its label} | {'unknown'}

-- include: clock

if redis.call('SREM', root .. ':tokens:' .. ARGV[1], ARGV[2]) == 0 then
  return { 'unknown' }
end
local token = root .. ':token:' .. ARGV[2]
local label = redis.call('HGET', token, 'label') or ''
redis.call('DEL', token)
return { 'dropped', label }
