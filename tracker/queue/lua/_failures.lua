-- What speaks against a worker: the endings it is to blame for, since a result of it was accepted.
-- `../failures.py` reads them, and judges.

-- include: crawl

local FAILURES_KEPT = 20
local FAILURES_FORGOTTEN = 24 * 3600 -- s after the last one

local function failures_of(attempt)
  return key('failures:' .. attempt.account .. '/' .. attempt.worker)
end

local function failure(attempt)
  return string.format('%.0f %.0f %s', attempt.leased_at, attempt.ended_at, attempt.outcome)
end

-- Write an attempt that has ended against its worker, if it is the worker's fault.
local function blame(attempt)
  local outcome = attempt.outcome
  if outcome == 'expired' or outcome == 'invalid' or attempt.class == 'worker' then
    local failures = failures_of(attempt)
    redis.call('RPUSH', failures, failure(attempt))
    redis.call('LTRIM', failures, -FAILURES_KEPT, -1)
    redis.call('EXPIRE', failures, FAILURES_FORGOTTEN)
  end
end

-- The attempt goes on as if it had never ended.
local function unblame(attempt)
  redis.call('LREM', failures_of(attempt), 0, failure(attempt))
end

-- The worker does good work: nothing speaks against it any more.
local function absolve(attempt)
  redis.call('DEL', failures_of(attempt))
end
