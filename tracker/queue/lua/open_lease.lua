-- Whether `complete` would take a shard of this lease now. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 account
-- Returns {'open', row of `_rows.lua`}
--       | {'lost', why} | {'not_yours'} | {'no_job'} | {'no_crawl'}

-- include: standing
-- include: rows

local lease, refusal = standing(ARGV[1], ARGV[2], ARGV[3])
if not lease then
  return refusal
end
if (lease.holds and lease.state == 'leased') or may_come_late(lease) then
  return { 'open', lease_row(lease.j, lease.job, lease.number) }
end
return lost(lease)
