-- An admin takes jobs away from their workers, or brings dead ones back with fresh attempts.
--
-- KEYS  1 meta
-- ARGV  1 reason   2 leave alone a lease with a heartbeat after this time, ms; 0 spares none
--       3… jobs
-- Returns {'verdicts', one of `_verdict.lua` for each job} | {'no_crawl'}

-- include: verdict
-- include: ending

local verdicts = {}
for i = 3, #ARGV do
  local j = ARGV[i]
  local job = key('job:' .. j)
  verdicts[i - 2] = verdict(j, tonumber(ARGV[2]))
  if verdicts[i - 2] == 'requeued' then
    local state, holder, last =
      unpack(redis.call('HMGET', job, 'state', 'holder', 'attempt'))
    if state == 'leased' then
      local attempt = load_attempt(job, holder)
      end_attempt(j, job, tonumber(holder), attempt, 'superseded', ARGV[1])
    else
      redis.call('ZREM', key('dead'), j)
      redis.call('ZADD', key('retry'), now, j)
      redis.call('HSET', job, 'state', 'pending', 'since', last)
    end
  end
end
return { 'verdicts', verdicts }
