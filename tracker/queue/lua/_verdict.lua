-- What a requeue does to a job; asked by `requeue`, which does it, and by `requeue_preview`.

-- include: known
-- include: attempts

-- Returns 'requeued' | 'unchanged' (pending, or its shard is here) | 'alive' | 'unknown'.
-- `silent_since` in ms: a lease with a later heartbeat is alive; 0 spares none.
-- `state` and `seen_at`, if not '' and 0: what is in another state, or came to be in this one after
-- that time, ms, is not what the admin saw, and is left unchanged.
local function verdict(j, silent_since, state, seen_at)
  if tonumber(j) >= tonumber(redis.call('HGET', meta, 'total')) then
    return 'unknown'
  end
  local job = key('job:' .. j)
  local now_is, held = redis.call('HGET', job, 'state'), holder_of(job, 'leased')
  if not (now_is == 'dead' or held) or (state ~= '' and now_is ~= state) then
    return 'unchanged'
  end
  local since
  if now_is == 'dead' then
    since = redis.call('ZSCORE', key('dead'), j)
  else
    since = held.leased_at
  end
  if seen_at > 0 and tonumber(since) > seen_at then
    return 'unchanged'
  elseif now_is == 'leased' and silent_since > 0
    and tonumber(redis.call('ZSCORE', key('beats'), j)) > silent_since then
    return 'alive'
  end
  return 'requeued'
end
