-- A new account, whose name is free and whose person has none.
local function write_account(name, role, discord_id)
  local hash = root .. ':account:' .. name
  redis.call('HSET', hash, 'role', role, 'created', ms(now / 1000))
  redis.call('SADD', root .. ':names', name)
  if discord_id ~= '' then
    redis.call('HSET', hash, 'discord_id', discord_id)
    redis.call('SET', root .. ':discord:' .. discord_id, name)
  end
end
