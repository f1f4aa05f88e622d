-- Rate limits. A bucket is one number, the time (ms) at which it would be full again: the generic
-- cell rate algorithm. `period`: ms until one more call fits in; 0 sets no limit. `burst`: how
-- many fit into a full one.

-- Returns how long to wait (0: go ahead) and, when there is a limit, what to store.
local function take(rate, full_at)
  if rate.period == 0 then
    return 0
  end
  local start = math.max(tonumber(full_at or 0), now)
  local wait = start - now - (rate.burst - 1) * rate.period
  if wait > 0.001 then
    return wait
  end
  return 0, start + rate.period
end

local function address_key(kind, address)
  return root .. ':rate:' .. kind .. ':' .. address
end

-- No address: the tracker's own machine, which is not limited by its address.
local function take_of_address(rate, kind, address)
  if address == '' then
    return 0
  end
  local key = address_key(kind, address)
  local wait, full_at = take(rate, redis.call('GET', key))
  return wait, full_at, key
end

local function keep(key, full_at)
  if full_at then
    redis.call('SET', key, ms(full_at), 'PX', math.max(1, math.ceil(full_at - now)))
  end
end
