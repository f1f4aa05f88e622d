-- Who holds which jobs: an index by worker, and one by account.

-- include: crawl
-- include: attempts

local function held_by_worker(account, worker)
  return key('held:' .. account .. '/' .. worker)
end

local function held_by_account(account)
  return key('held:' .. account) -- no name has a slash, so no worker's key is like it
end

local function take_hold(j, attempt)
  redis.call('SADD', held_by_worker(attempt.account, attempt.worker), j)
  redis.call('SADD', held_by_account(attempt.account), j)
end

local function let_go(j, attempt)
  redis.call('SREM', held_by_worker(attempt.account, attempt.worker), j)
  redis.call('SREM', held_by_account(attempt.account), j)
end

-- The attempt by which this worker (without `worker`: this account) holds a job, and its number;
-- nil if the index is wrong.
local function hold_of(j, account, worker)
  local attempt, number = holder_of(key('job:' .. j), 'leased')
  if attempt and attempt.account == account and (not worker or attempt.worker == worker) then
    return attempt, number
  end
end

-- Drop an entry of the index that `hold_of` finds nothing behind.
local function drop_hold(j, account, worker)
  if worker then
    redis.call('SREM', held_by_worker(account, worker), j)
  end
  if not hold_of(j, account) then
    redis.call('SREM', held_by_account(account), j)
  end
end
