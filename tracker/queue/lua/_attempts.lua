-- The attempts of a job: fields a:1, a:2 … of its hash, JSON, the last ATTEMPTS_KEPT of them.

local ATTEMPTS_KEPT = 40

local function load_attempt(job, number)
  local text = redis.call('HGET', job, 'a:' .. number)
  return text and cjson.decode(text)
end

local function save_attempt(job, number, attempt)
  redis.call('HSET', job, 'a:' .. number, cjson.encode(attempt))
end
