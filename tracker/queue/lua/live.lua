-- Which leases may still bring what they are at work on: they hold a job that is leased or being
-- verified, or their intermediate waits to be scored. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  for each lease: its job, its secret
-- Returns {'live', 1 | 0 for each} | {'no_crawl'}

-- include: standing

local function is_open(state)
  return state == 'leased' or state == 'verifying'
end

local live = {}
for n = 1, #ARGV, 2 do
  local lease = standing(ARGV[n], ARGV[n + 1], '')
  local found = lease and lease.holds and is_open(lease.state)
  if lease and not found and (lease.state == 'pending' or is_open(lease.state)) then
    local fetched = redis.call('HGET', lease.job, 'fetched')
    found = fetched and cjson.decode(fetched).lease == ARGV[n + 1]
  end
  table.insert(live, found and 1 or 0)
end
return { 'live', live }
