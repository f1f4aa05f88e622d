-- Who holds which jobs: an index by worker, and one by account.

-- include: crawl

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
