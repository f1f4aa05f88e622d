-- A new account, with or without a first token.
--
-- KEYS  1 {accounts}
-- ARGV  1 name   2 role   3 Discord user or ''   4 token id or ''   5 its secret's SHA-256
--       6 the token's label
-- Returns {'added'} | {'taken'} | {'linked', the account of that Discord user}

-- include: clock
-- include: tokens
-- include: account

-- its answer was lost, and the client asked again
if ARGV[4] ~= '' and redis.call('HGET', root .. ':token:' .. ARGV[4], 'account') == ARGV[1] then
  return { 'added' }
end
if redis.call('EXISTS', root .. ':account:' .. ARGV[1]) == 1 then
  return { 'taken' }
end
local owner = ARGV[3] ~= '' and redis.call('GET', root .. ':discord:' .. ARGV[3])
if owner then
  return { 'linked', owner }
end
write_account(ARGV[1], ARGV[2], ARGV[3])
if ARGV[4] ~= '' then
  write_token(ARGV[1], ARGV[4], ARGV[5], ARGV[6])
end
return { 'added' }
