-- A worker was here: note it, and tell how it stands.

-- include: standing

-- An account's workers are named by whoever has its token. A name that was not seen for a day makes
-- room for a new one; where none does, there is no work under new names, so that nobody gets away
-- from a ban or a cooldown by taking one after the other.
local most_workers = 500
local name_kept = 24 * 3600 * 1000
local crowded = 'your account has ' .. most_workers .. ' workers of this day already; take some off '
  .. 'the list, or wait'
-- Seen is noted so often only, ms: every request would else be a write.
local coarse = 10000
local recent = 300000

local function forget_one(account)
  local old = redis.call('ZRANGEBYSCORE', root .. ':workers:' .. account, '-inf',
    ms(now - name_kept))
  for _, name in ipairs(old) do
    local hash = root .. ':worker:' .. account .. '/' .. name
    if redis.call('HEXISTS', hash, 'state') == 0 then
      redis.call('DEL', hash)
      redis.call('ZREM', root .. ':workers:' .. account, name)
      return true
    end
  end
  return false
end

local function seen(account, worker, version, stages)
  local hash = root .. ':worker:' .. account .. '/' .. worker
  local row = redis.call('HMGET', hash, 'last', 'version', 'stages')
  local known = row[1]
  if not known and redis.call('ZCARD', root .. ':workers:' .. account) >= most_workers
    and not forget_one(account) then
    return { 'draining', crowded, '', '', '' }
  end
  local news = (version ~= '' and version ~= row[2]) or (stages ~= '' and stages ~= row[3])
  if not known then
    redis.call('HSET', hash, 'first', ms(now))
  end
  if version ~= '' and news then
    redis.call('HSET', hash, 'version', version, 'stages', stages)
  end
  if not known or now - row[1] > coarse then
    redis.call('HSET', hash, 'last', ms(now))
    redis.call('ZADD', root .. ':workers:' .. account, ms(now), worker)
    redis.call('ZADD', root .. ':seen', ms(now), account .. '/' .. worker)
    redis.call('ZREMRANGEBYSCORE', root .. ':seen', '-inf', '(' .. ms(now - recent))
  end
  return known and standing_in(hash) or { '', '', '', '', '' }
end
