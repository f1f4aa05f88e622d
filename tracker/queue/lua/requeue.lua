-- An admin takes jobs away from their workers, or brings dead ones back with fresh attempts.
--
-- KEYS  1 meta
-- ARGV  1 id of the call   2 reason
--       3 leave alone a lease with a heartbeat after this time, ms; 0 spares none
--       4 the state that the jobs were seen in, or ''   5 when, ms, or 0
--       6 id of the action, for `undo`; or ''   7… jobs
-- Returns {'verdicts', one of `_verdict.lua` for each job} (also when it is sent again)
--       | {'no_crawl'}

-- include: verdict
-- include: requeue
-- include: once

local again = first_answer(ARGV[1])
if again then
  return again
end

local verdicts = {}
for i = 7, #ARGV do
  local j = ARGV[i]
  local found = verdict(j, tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]))
  if found == 'requeued' then
    local job = key('job:' .. j)
    note_before(ARGV[6], j, job)
    requeue_job(j, job, ARGV[2])
  end
  verdicts[i - 6] = found
end
return answer(ARGV[1], { 'verdicts', verdicts })
