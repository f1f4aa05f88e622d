-- An admin takes jobs away from their workers, or brings dead ones back with fresh attempts.
--
-- KEYS  1 meta
-- ARGV  1 reason   2 leave alone a lease with a heartbeat after this time, ms; 0 spares none
--       3 the state that the jobs were seen in, or ''   4 when, ms, or 0
--       5 id of the action, for `undo`; or ''   6… jobs
-- Returns {'verdicts', one of `_verdict.lua` for each job} | {'no_crawl'}

-- include: verdict
-- include: requeue

local verdicts = {}
for i = 6, #ARGV do
  local j = ARGV[i]
  local found = verdict(j, tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]))
  if found == 'requeued' then
    local job = key('job:' .. j)
    note_before(ARGV[5], j, job)
    requeue_job(j, job, ARGV[1])
  end
  verdicts[i - 5] = found
end
return { 'verdicts', verdicts }
