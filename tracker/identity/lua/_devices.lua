-- Logins under way.

local devices = root .. ':devices'

local function devices_of(address)
  return root .. ':devices_of:' .. address
end

-- Nobody can type its code any more, and it does not count. `address` is '' or nil for the
-- tracker's own machine.
local function close(hash, user, address)
  redis.call('DEL', root .. ':user_code:' .. user)
  redis.call('ZREM', devices, hash)
  if address and address ~= '' then
    redis.call('ZREM', devices_of(address), hash)
  end
end
