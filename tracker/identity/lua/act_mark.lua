-- An act is under way for so long yet, or it is not; unless its mark is not this one any more.
--
-- KEYS  1 {audit}
-- ARGV  1 account   2 HASH   3 how many acts of the account are known   4 the mark
--       5 ms; 0: take it away
-- Returns {'marked'} | {'gone'}

-- include: acts

local answer = answer_key(ARGV[2])
if redis.call('GET', answer) ~= ARGV[4] then
  return { 'gone' }
end
if ARGV[5] == '0' then
  redis.call('DEL', answer)
  redis.call('ZREM', acts_of(ARGV[1]), ARGV[2])
else
  redis.call('PEXPIRE', answer, ARGV[5])
  remember(ARGV[1], ARGV[2], tonumber(ARGV[3]))
end
return { 'marked' }
