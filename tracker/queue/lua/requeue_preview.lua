-- What `requeue` would do. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 leave alone a lease with a heartbeat after this time, ms; 0 spares none   2… jobs
-- Returns {'verdicts', one of `_verdict.lua` for each job} | {'no_crawl'}

-- include: verdict

local verdicts = {}
for i = 2, #ARGV do
  verdicts[i - 1] = verdict(ARGV[i], tonumber(ARGV[1]), '', 0)
end
return { 'verdicts', verdicts }
