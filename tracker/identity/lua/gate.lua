-- The first question of every request: who calls, may they do it now, and how do they stand?
-- Answered for all requests that came in together, each for itself.
--
-- KEYS  1 {accounts}
-- ARGV  1-12 period (ms) and burst of the rates call, lease, beat (of a token), address,
--       address_beat, anonymous (of an address); then for each request five:
--       token id or ''   SHA-256 of its secret   keyed hash of the address
--       call | lease | beat   the worker's name or ''
-- Returns a list, for each request one of
--       {'ok', account, role, act, scopes, has scopes, the account's standing, the worker's}
--       | {'nobody'}: without a token, as anyone may be  | {'unknown'} | {'revoked'} | {'expired'}
--       | {'limited', ms to wait}

-- include: clock
-- include: buckets
-- include: seen

-- A token's `used` is for people to look at.
local coarse_use = 60000

local rates = {}
for index, name in ipairs({ 'call', 'lease', 'beat', 'address', 'address_beat', 'anonymous' }) do
  rates[name] = { period = tonumber(ARGV[2 * index - 1]), burst = tonumber(ARGV[2 * index]) }
end

local function limited(wait)
  return { 'limited', math.ceil(wait) }
end

-- Guesses are counted with the calls that need no token, so they cannot be tried without end, and
-- cost those who share the address and have a token nothing.
local function without_token(address, answer)
  local wait, full_at, key = take_of_address(rates.anonymous, 'anonymous', address)
  if wait > 0 then
    return limited(wait)
  end
  keep(key, full_at)
  return answer
end

local function away(act)
  local row = redis.call('HMGET', root .. ':account:' .. act, 'role', 'revoked')
  return not row[1] or row[2] or standing_in(root .. ':account:' .. act)[1] == 'banned'
end

local function admit(id, sha256, address, kind, worker)
  if id == '' then
    return without_token(address, { 'nobody' })
  end
  local token = root .. ':token:' .. id
  local row = redis.call('HMGET', token, 'sha256', 'account', 'act', 'scopes', 'expires', 'used',
    'full:' .. kind)
  -- Both are SHA-256 of 256 random bits: how long the comparison takes helps nobody to guess.
  if row[1] ~= sha256 then
    return without_token(address, { 'unknown' })
  end
  local name, act = row[2], row[3]
  local account = redis.call('HMGET', root .. ':account:' .. name, 'role', 'revoked')
  if not account[1] or account[2] or (act and away(act)) then
    return without_token(address, { 'revoked' })
  end
  if row[5] and tonumber(row[5]) <= now then
    return without_token(address, { 'expired' })
  end

  local of_address = kind == 'beat' and 'address_beat' or 'address'
  local wait, full_at = take(rates[kind], row[7])
  local place_wait, place_full_at, place = take_of_address(rates[of_address], of_address, address)
  if wait > 0 or place_wait > 0 then
    return limited(math.max(wait, place_wait))
  end
  keep(place, place_full_at)
  if full_at then
    redis.call('HSET', token, 'full:' .. kind, ms(full_at))
  end
  if not row[6] or now - row[6] > coarse_use then
    redis.call('HSET', token, 'used', ms(now))
  end

  local answer = { 'ok', name, account[1], act or '', row[4] or '', row[4] and 1 or 0 }
  for _, word in ipairs(standing_in(root .. ':account:' .. name)) do
    answer[#answer + 1] = word
  end
  if worker ~= '' and not act then
    for _, word in ipairs(seen(name, worker, '', '')) do
      answer[#answer + 1] = word
    end
  end
  return answer
end

local answers = {}
for index = 13, #ARGV, 5 do
  answers[#answers + 1] = admit(unpack(ARGV, index, index + 4))
end
return answers
