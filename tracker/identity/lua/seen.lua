-- A worker asks for work, or beats.
--
-- KEYS  1 {accounts}
-- ARGV  1 account   2 worker   3 its version or ''   4 its stages or '', by spaces
-- Returns {state, reason, by, since, until} of the worker, '' for what is not set

-- include: clock
-- include: seen

return seen(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
