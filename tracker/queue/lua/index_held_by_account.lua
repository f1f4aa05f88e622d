-- Put some leased jobs into the index by account, which version 1 of the data did not have.
--
-- KEYS  1 meta
-- ARGV  1 cursor of ZSCAN over `leases`   2 about how many
-- Returns {'indexed', next cursor} | {'no_crawl'}

-- include: known
-- include: held
-- include: attempts

local found = redis.call('ZSCAN', key('leases'), ARGV[1], 'COUNT', ARGV[2])
for i = 1, #found[2], 2 do
  local j = found[2][i]
  local job = key('job:' .. j)
  local attempt = holder_of(job, 'leased')
  if attempt then
    take_hold(j, attempt)
  end
end
return { 'indexed', found[1] }
