-- The acts of one account under its keys, in the order in which they were begun, went on or ended.
-- Beyond so many the oldest are forgotten: whoever makes up keys fills no more than a share of their
-- own. Whether they are over plays no part, nor does a clock, which may go back.

local root = KEYS[1]
local acts_kept = 24 * 3600 * 1000 -- ms; no act is known for longer

local function answer_key(hash)
  return root .. ':answer:' .. hash
end

local function acts_of(account)
  return root .. ':acts:' .. account
end

local function remember(account, hash, most)
  local acts = acts_of(account)
  local last = redis.call('ZRANGE', acts, -1, -1, 'WITHSCORES')[2] or 0
  redis.call('ZADD', acts, last + 1, hash)
  redis.call('PEXPIRE', acts, acts_kept)
  local over = redis.call('ZCARD', acts) - most
  if over > 0 then
    for _, oldest in ipairs(redis.call('ZRANGE', acts, 0, over - 1)) do
      redis.call('DEL', answer_key(oldest))
    end
    redis.call('ZREMRANGEBYRANK', acts, 0, over - 1)
  end
end
