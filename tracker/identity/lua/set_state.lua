-- An admin says how an account, or one of its workers, stands.
--
-- KEYS  1 {accounts}
-- ARGV  1 account   2 worker or ''   3 active | draining | banned   4 reason   5 by whom
--       6 until, Unix seconds, or ''
-- Returns {'set', then state, reason, by, since, until as they were} | {'no_account'}
--       | {'no_worker'}

-- include: clock
-- include: standing

local hash = root .. ':account:' .. ARGV[1]
if redis.call('EXISTS', hash) == 0 then
  return { 'no_account' }
end
if ARGV[2] ~= '' then
  hash = root .. ':worker:' .. ARGV[1] .. '/' .. ARGV[2]
  if redis.call('EXISTS', hash) == 0 then
    return { 'no_worker' }
  end
end
local before = standing_in(hash)
redis.call('HDEL', hash, 'state', 'reason', 'by', 'since', 'until')
if ARGV[3] ~= 'active' then
  redis.call('HSET', hash, 'state', ARGV[3], 'reason', ARGV[4], 'by', ARGV[5], 'since', ms(now))
  if ARGV[6] ~= '' then
    redis.call('HSET', hash, 'until', ms(tonumber(ARGV[6]) * 1000))
  end
end
return { 'set', unpack(before) }
