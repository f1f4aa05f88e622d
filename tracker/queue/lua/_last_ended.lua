-- Which attempt of a job is its lease, or was its last; and how the last one that ended went.

-- include: known
-- include: attempts

-- The attempt that holds a job, or else its last one; and the last one that ended, with its number,
-- or nil.
-- `state` and `last` are of the job's hash; for `holder` see `../keys.py`.
local function its_attempts(job, state, last, holder)
  local held = state == 'leased' or state == 'verifying'
  local number = tonumber(held and holder or last)
  local current = load_attempt(job, number)
  for back = tonumber(last), math.max(1, last - 1), -1 do
    local attempt = back == number and current or load_attempt(job, back)
    if attempt and attempt.outcome then
      attempt.number = back
      return number, current, attempt
    end
  end
  return number, current, nil
end

-- Since when, ms, a job is in its state.
local function in_state_since(j, state, attempt)
  if state == 'leased' then
    return attempt.leased_at
  elseif state == 'verifying' then
    return attempt.submitted_at
  elseif state == 'dead' then
    return tonumber(redis.call('ZSCORE', key('dead'), j))
  end
  return attempt.ended_at
end
