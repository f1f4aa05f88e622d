-- What became of a lease. Changes nothing.
--
-- KEYS  1 meta
-- ARGV  1 job   2 secret of the lease   3 account
-- Returns {'receipt', state, outcome or '', message}
--       | {'lost', why} (nothing is known of it) | {'not_yours'} | {'no_job'} | {'no_crawl'}

-- include: standing

local lease, refusal = standing(ARGV[1], ARGV[2], ARGV[3])
if not lease then
  return refusal
end
return receipt(lease)
