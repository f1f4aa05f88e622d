-- A call whose line broke before the answer came is sent again by its client: it gets the first
-- answer, and nothing is done twice. `id` is the call's own.

-- include: crawl

local CALL_KEPT = 60 -- s; no client tries for so long

-- The answer that was given to this call, or nil.
local function first_answer(id)
  local text = redis.call('GET', key('call:' .. id))
  return text and cjson.decode(text) or nil
end

local function answer(id, reply)
  redis.call('SET', key('call:' .. id), cjson.encode(reply), 'EX', CALL_KEPT)
  return reply
end
