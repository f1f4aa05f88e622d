-- Tokens of an account.

-- Enough for a room of machines; a leaked list of thousands could not be looked through.
local most_tokens = 100

local function write_token(name, id, sha256, label)
  redis.call('HSET', root .. ':token:' .. id,
    'sha256', sha256, 'account', name, 'label', label, 'created', ms(now))
  redis.call('SADD', root .. ':tokens:' .. name, id)
end

local function drop_tokens(name)
  for _, id in ipairs(redis.call('SMEMBERS', root .. ':tokens:' .. name)) do
    redis.call('DEL', root .. ':token:' .. id)
  end
  redis.call('DEL', root .. ':tokens:' .. name)
end
