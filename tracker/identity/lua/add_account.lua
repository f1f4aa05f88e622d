-- A new account, with or without a first token.
--
-- KEYS  1 {accounts}
-- ARGV  1 name   2 role   3 Discord user or ''   4 token id or ''   5 its secret's SHA-256
--       6 the token's label   7 id of this call
-- Returns {'added'} (also when it is sent again) | {'taken'}
--       | {'linked', the account of that Discord user}

-- include: once
-- include: tokens
-- include: account

local said = first_answer(ARGV[7])
if said then
  return said
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
  write_token(ARGV[1], ARGV[4], ARGV[5], ARGV[6], '')
end
return answer(ARGV[7], { 'added' })
