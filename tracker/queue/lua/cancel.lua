-- Take all jobs of this crawl from one worker, or from all workers of an account.
--
-- KEYS  1 meta
-- ARGV  1 id of the call   2 account   3 worker, or '' for all   4 reason   5 how many at most
-- Returns {'cancelled', how many, '1' if there may be more} (also when it is sent again)
--       | {'no_crawl'}

-- include: ending
-- include: once

local again = first_answer(ARGV[1])
if again then
  return again
end

local account, worker = ARGV[2], ARGV[3] ~= '' and ARGV[3] or nil
local held = worker and held_by_worker(account, worker) or held_by_account(account)
local jobs, cancelled = redis.call('SRANDMEMBER', held, ARGV[5]), 0
for _, j in ipairs(jobs) do
  local attempt, number = hold_of(j, account, worker)
  if attempt then
    end_attempt(j, key('job:' .. j), number, attempt, 'superseded', ARGV[4])
    cancelled = cancelled + 1
  else
    drop_hold(j, account, worker)
  end
end
return answer(ARGV[1], { 'cancelled', cancelled, #jobs == tonumber(ARGV[5]) and '1' or '' })
