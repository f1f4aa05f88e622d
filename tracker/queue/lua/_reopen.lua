-- A lease that was over holds its job again: its attempt never ended.

-- include: standing
-- include: failures

-- Allowed if `may_come_late`. The caller puts the job where it belongs and sets its state.
local function reopen(lease)
  redis.call('ZREM', key('retry'), lease.j)
  redis.call('ZREM', key('score'), lease.j)
  redis.call('ZREM', key('dead'), lease.j)
  local attempt = lease.attempt
  unblame(attempt)
  attempt.outcome, attempt.ended_at, attempt.message, attempt.charged = nil, nil, nil, nil
  save_attempt(lease.job, lease.number, attempt)
  redis.call('HDEL', lease.job, 'r:' .. lease.number)
  redis.call('HSET', lease.job, 'holder', lease.number)
end
