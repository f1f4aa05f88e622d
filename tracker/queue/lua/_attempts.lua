-- The attempts of a job: fields a:1, a:2 … of its hash, JSON, the last ATTEMPTS_KEPT of them.

local ATTEMPTS_KEPT = 40

local function load_attempt(job, number)
  local text = redis.call('HGET', job, 'a:' .. number)
  return text and cjson.decode(text)
end

-- The attempt that holds a job which is in this state, and its number; nil if none does. An index
-- may name a job whose hash was lost: that is for the books, and must stop nobody.
local function holder_of(job, state)
  local now_is, number = unpack(redis.call('HMGET', job, 'state', 'holder'))
  local attempt = now_is == state and number and load_attempt(job, number)
  if attempt then
    return attempt, tonumber(number)
  end
end

local function save_attempt(job, number, attempt)
  redis.call('HSET', job, 'a:' .. number, cjson.encode(attempt))
end
