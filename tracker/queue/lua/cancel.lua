-- Take all jobs of this crawl from one worker, or from all workers of an account.
--
-- KEYS  1 meta
-- ARGV  1 account   2 worker, or '' for all   3 reason   4 how many at most
-- Returns {'cancelled', how many} | {'no_crawl'}

-- include: ending

local held = ARGV[2] == '' and held_by_account(ARGV[1]) or held_by_worker(ARGV[1], ARGV[2])
local jobs = redis.call('SRANDMEMBER', held, ARGV[4])
for _, j in ipairs(jobs) do
  local job = key('job:' .. j)
  local number = tonumber(redis.call('HGET', job, 'holder'))
  end_attempt(j, job, number, load_attempt(job, number), 'superseded', ARGV[3])
end
return { 'cancelled', #jobs }
