-- Tokens of an account.

-- Enough for a room of machines; a leaked list of thousands could not be looked through.
local most_tokens = 100
-- Their owners see for so long why a machine stopped, ms.
local expired_kept = 30 * 24 * 3600 * 1000

local function forget_token(name, id)
  redis.call('DEL', root .. ':token:' .. id)
  redis.call('SREM', root .. ':tokens:' .. name, id)
end

-- Those that ended before that time, ms.
local function forget_expired(name, before)
  for _, id in ipairs(redis.call('SMEMBERS', root .. ':tokens:' .. name)) do
    local expires = redis.call('HGET', root .. ':token:' .. id, 'expires')
    if expires and tonumber(expires) <= before then
      forget_token(name, id)
    end
  end
end

-- Whether there may be one more token; one that has ended stands in nobody's way.
local function has_room(name)
  local tokens = root .. ':tokens:' .. name
  forget_expired(name, now - expired_kept)
  if redis.call('SCARD', tokens) >= most_tokens then
    forget_expired(name, now)
  end
  return redis.call('SCARD', tokens) < most_tokens
end

-- `scopes` '': all of the account's. `expires` ms; nil: never.
local function write_token(name, id, sha256, label, scopes, expires)
  local token = root .. ':token:' .. id
  redis.call('HSET', token, 'sha256', sha256, 'account', name, 'label', label, 'created', ms(now))
  if scopes ~= '' then
    redis.call('HSET', token, 'scopes', scopes)
  end
  if expires then
    redis.call('HSET', token, 'expires', expires)
  end
  redis.call('SADD', root .. ':tokens:' .. name, id)
end

local function drop_tokens(name)
  for _, id in ipairs(redis.call('SMEMBERS', root .. ':tokens:' .. name)) do
    redis.call('DEL', root .. ':token:' .. id)
  end
  redis.call('DEL', root .. ':tokens:' .. name)
end
