-- What speaks against a worker: the endings it is to blame for, since a result of it was accepted.
-- The same of its account, whose workers have the names that it gives them: since a result of any
-- was accepted. `../failures.py` reads them.

-- include: crawl

local FAILURES_KEPT = 20 -- of a worker
local FAILURES_OF_ACCOUNT_KEPT = 100
local FAILURES_FORGOTTEN = 24 * 3600 -- s after the last one

-- The worker's list, the account's, and how long each may be.
local function failures_of(attempt)
  local account = key('failures:' .. attempt.account)
  return {
    [account .. '/' .. attempt.worker] = FAILURES_KEPT, [account] = FAILURES_OF_ACCOUNT_KEPT,
  }
end

local function failure(attempt)
  return string.format('%.0f %.0f %s %s',
    attempt.leased_at, attempt.ended_at, attempt.outcome, attempt.worker)
end

-- Write an attempt that has ended against its worker, if it is the worker's fault.
local function blame(attempt)
  local outcome = attempt.outcome
  if outcome == 'expired' or outcome == 'invalid' or attempt.class == 'worker' then
    for failures, most in pairs(failures_of(attempt)) do
      redis.call('RPUSH', failures, failure(attempt))
      redis.call('LTRIM', failures, -most, -1)
      redis.call('EXPIRE', failures, FAILURES_FORGOTTEN)
    end
  end
end

-- The attempt goes on as if it had never ended.
local function unblame(attempt)
  for failures in pairs(failures_of(attempt)) do
    redis.call('LREM', failures, 0, failure(attempt))
  end
end

-- The worker does good work: nothing speaks against it any more.
local function absolve(attempt)
  for failures in pairs(failures_of(attempt)) do
    redis.call('DEL', failures)
  end
end
