-- An act was answered.
--
-- KEYS  1 {audit}
-- ARGV  1 account   2 HASH   3 how many acts of the account are known   4 the answer   5 ms
-- Returns {'kept'}

-- include: acts

redis.call('SET', answer_key(ARGV[2]), ARGV[4], 'PX', ARGV[5])
remember(ARGV[1], ARGV[2], tonumber(ARGV[3]))
return { 'kept' }
