-- Is each of these jobs in exactly one place, the one that its hash tells? `tracker/books.py` asks.
--
-- The finished record comes first: what it says is counted. Then comes the hash. A job that has
-- neither, and was handed out, is lost.
--
-- KEYS  1 meta
-- ARGV  1 first position in the crawl's order   2 how many positions   3 '1': repair
-- Returns {'books', positions looked at, { { kind, job, 1 if repaired } … }} | {'no_crawl'}

-- include: ending
-- include: permutation

local PLACES = { 'retry', 'score', 'leases', 'verifying', 'dead' }
local HOME = { leased = 'leases', verifying = 'verifying', dead = 'dead' }
local GRACE = 15 * 60 * 1000 -- ms: a worker that is there will have beaten by then

local repairs, found = ARGV[3] == '1', {}

local function note(kind, j, repaired)
  table.insert(found, { kind, tonumber(j), repairs and repaired and 1 or 0 })
end

-- Make a job one that waits for its next lease.
local function make_pending(j, job)
  redis.call('HDEL', job, 'holder', 'progress', 'manifest', 'claim')
  redis.call('HSETNX', job, 'attempt', 0)
  redis.call('HSETNX', job, 'since', 0)
  put_back(j, job, now)
end

local function leave_other_places(j, places, home)
  for _, place in ipairs(PLACES) do
    if places[place] and place ~= home then
      redis.call('ZREM', key(place), j)
    end
  end
  if home ~= 'leases' then
    redis.call('ZREM', key('beats'), j)
  end
end

local function check_holder(j, job, state)
  local number, manifest = unpack(redis.call('HMGET', job, 'holder', 'manifest'))
  local attempt = number and load_attempt(job, number)
  if not attempt or attempt.outcome or (state == 'verifying' and not manifest) then
    return nil
  end
  return attempt
end

local function check_leased(j, job, places)
  local attempt = check_holder(j, job, 'leased')
  if not places.leases then
    note('not_in_leases', j, true)
    if repairs then
      redis.call('ZADD', key('leases'), now + GRACE, j)
    end
  end
  if not redis.call('ZSCORE', key('beats'), j) then
    note('not_in_beats', j, true)
    if repairs then
      redis.call('ZADD', key('beats'), attempt.leased_at, j)
    end
  end
  if redis.call('SISMEMBER', held_by_worker(attempt.account, attempt.worker), j) == 0
    or redis.call('SISMEMBER', held_by_account(attempt.account), j) == 0 then
    note('not_held', j, true)
    if repairs then
      take_hold(j, attempt)
    end
  end
end

local function check_unfinished(j, job, state, places)
  if not state then
    note('lost', j, true)
    if repairs then
      leave_other_places(j, places)
      make_pending(j, job)
    end
    return
  end
  local stage, fetched = unpack(redis.call('HMGET', job, 'stage', 'fetched'))
  if (stage == 'score') ~= (fetched and true or false) then
    note('stage_without_intermediate', j, true)
    if repairs then
      redis.call('HDEL', job, 'stage', 'fetched')
      stage = false
    end
  end
  local home = HOME[state] or (state == 'pending' and (stage == 'score' and 'score' or 'retry'))
  if not home then
    -- 'accepted' without its record: what was counted for it is not known any more
    note(state == 'accepted' and 'accepted_without_record' or 'unknown_state', j, false)
    return
  end
  if HOME[state] and state ~= 'dead' and not check_holder(j, job, state) then
    note('without_holder', j, true)
    if repairs then
      leave_other_places(j, places)
      make_pending(j, job)
    end
    return
  end
  local many = state ~= 'leased' and redis.call('ZSCORE', key('beats'), j)
  for _, place in ipairs(PLACES) do
    many = many or (places[place] and place ~= home)
  end
  if many then
    note('in_two_places', j, true)
    if repairs then
      leave_other_places(j, places, home)
    end
  end
  if state == 'leased' then
    check_leased(j, job, places)
  elseif not places[home] then
    note('not_in_' .. home, j, true)
    if repairs then
      redis.call('ZADD', key(home), now, j)
    end
  end
end

local function check_finished(j, job, state, places)
  local many = redis.call('ZSCORE', key('beats'), j)
  for _, place in ipairs(PLACES) do
    many = many or places[place]
  end
  if many then
    note('in_two_places', j, true)
    if repairs then
      leave_other_places(j, places)
    end
  end
  if state and state ~= 'accepted' then
    note('finished_but_' .. state, j, true)
    if repairs then
      redis.call('HDEL', job, 'progress', 'manifest', 'claim', 'stage', 'fetched')
      redis.call('HSET', job, 'state', 'accepted')
      redis.call('EXPIRE', job, 7 * 24 * 3600)
    end
  end
end

local total, cursor, seed = unpack(redis.call('HMGET', meta, 'total', 'cursor', 'seed'))
total, cursor, seed = tonumber(total), tonumber(cursor), tonumber(seed)
local first = tonumber(ARGV[1])
local last = math.min(first + tonumber(ARGV[2]), cursor) - 1
for position = first, last do
  local j = permute(position, total, seed)
  local job = key('job:' .. j)
  local state = redis.call('HGET', job, 'state')
  local places = {}
  for _, place in ipairs(PLACES) do
    places[place] = redis.call('ZSCORE', key(place), j)
  end
  if redis.call('HEXISTS', key('finished'), j) == 1 then
    check_finished(j, job, state, places)
  else
    check_unfinished(j, job, state, places)
  end
end
return { 'books', math.max(0, last - first + 1), found }
