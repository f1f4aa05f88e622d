-- How somebody stands, of a hash: {state, reason, by, since, until}, all '' for nobody special.
local function standing_in(hash)
  local row = redis.call('HMGET', hash, 'state', 'reason', 'by', 'since', 'until')
  if not row[1] or (row[5] and tonumber(row[5]) <= now) then
    return { '', '', '', '', '' }
  end
  for index = 1, 5 do
    row[index] = row[index] or ''
  end
  return row
end
