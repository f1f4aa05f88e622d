-- An act is under way for so long yet, or it is not; unless its mark is not this one any more.
--
-- KEYS  1 {audit}:answer:HASH
-- ARGV  1 the mark   2 ms; 0: take it away
-- Returns {'marked'} | {'gone'}

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return { 'gone' }
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return { 'marked' }
