-- Does this worker, or account, hold these jobs, as the index says? `tracker/books.py` asks.
--
-- KEYS  1 meta
-- ARGV  1 '1': repair   2 account   3 worker, or '' for the index by account   4… jobs
-- Returns {'books', how many, { { 'held_by_nobody', job, 1 if repaired } … }} | {'no_crawl'}

-- include: known
-- include: held
-- include: attempts

local repairs, account, worker, found = ARGV[1] == '1', ARGV[2], ARGV[3], {}
local held = worker == '' and held_by_account(account) or held_by_worker(account, worker)
for i = 4, #ARGV do
  local j = ARGV[i]
  local job = key('job:' .. j)
  local state, number = unpack(redis.call('HMGET', job, 'state', 'holder'))
  local attempt = state == 'leased' and number and load_attempt(job, number)
  local holds = attempt and attempt.account == account
    and (worker == '' or attempt.worker == worker)
  -- it may have been let go since the index was read
  if not holds and redis.call('SISMEMBER', held, j) == 1 then
    table.insert(found, { 'held_by_nobody', j, repairs and 1 or 0 })
    if repairs then
      redis.call('SREM', held, j)
    end
  end
end
return { 'books', #ARGV - 3, found }
