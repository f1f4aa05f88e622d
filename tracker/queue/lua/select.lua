-- Which jobs a filter means, a slice at a time: those of one structure, lowest score first. Changes
-- nothing.
--
-- KEYS  1 meta
-- ARGV  1 'beats' (leased) | 'verifying' | 'retry' | 'score' | 'dead'   2 highest score, or '+inf'
--       3 score and 4 job after which this slice begins, or ''   5 how many to look at
--       6 filter (JSON): since (latest time, ms, at which the job came to be in its state),
--         account, worker, outcome, class, message (lower case); each may be missing
-- Returns {'selected', now ms, jobs, score and job of the last one looked at; '' and '' at the end}
--       | {'no_crawl'}

-- include: known
-- include: last_ended

local zset, most, filter = key(ARGV[1]), tonumber(ARGV[5]), cjson.decode(ARGV[6])

local function fits(j)
  local job = key('job:' .. j)
  local state, last, holder = unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder'))
  if not state then
    return false -- a stray, which is for the books
  end
  local _, attempt, ended = its_attempts(job, state, last, holder)
  if not attempt then
    return false
  elseif filter.since and in_state_since(j, state, attempt) > filter.since
    or filter.account and attempt.account ~= filter.account
    or filter.worker and attempt.worker ~= filter.worker then
    return false
  elseif not (filter.outcome or filter.class or filter.message) then
    return true
  end
  return ended
    and (not filter.outcome or ended.outcome == filter.outcome)
    and (not filter.class or ended.class == filter.class)
    and (not filter.message
      or string.find(string.lower(ended.message or ''), filter.message, 1, true))
end

-- Jobs of equal score are in the order of their names; what comes after (score, job) is found again
-- although that one may have left meanwhile.
local from = ARGV[3] == '' and 0 or redis.call('ZCOUNT', zset, '-inf', '(' .. ARGV[3])
local jobs, looked, score, j = {}, 0, '', ''
while looked < most do
  local some = redis.call('ZRANGE', zset, from, from + most - 1, 'WITHSCORES')
  from = from + most
  for i = 1, #some, 2 do
    if ARGV[2] ~= '+inf' and tonumber(some[i + 1]) > tonumber(ARGV[2]) then
      return { 'selected', now, jobs, '', '' }
    elseif not (some[i + 1] == ARGV[3] and some[i] <= ARGV[4]) then
      if looked == most then
        return { 'selected', now, jobs, score, j }
      end
      j, score, looked = some[i], some[i + 1], looked + 1
      if fits(j) then
        table.insert(jobs, tonumber(j))
      end
    end
  end
  if #some < 2 * most then
    return { 'selected', now, jobs, '', '' }
  end
end
return { 'selected', now, jobs, score, j }
