-- What a requeue does to a job; asked by `requeue`, which does it, and by `requeue_preview`.

-- include: known

-- Returns 'requeued' | 'unchanged' (pending, or its shard is here) | 'alive' | 'unknown'.
-- `silent_since` in ms: a lease with a later heartbeat is alive; 0 spares none.
local function verdict(j, silent_since)
  if tonumber(j) >= tonumber(redis.call('HGET', meta, 'total')) then
    return 'unknown'
  end
  local state = redis.call('HGET', key('job:' .. j), 'state')
  if state == 'dead' then
    return 'requeued'
  elseif state ~= 'leased' then
    return 'unchanged'
  elseif silent_since > 0 and tonumber(redis.call('ZSCORE', key('beats'), j)) > silent_since then
    return 'alive'
  end
  return 'requeued'
end
