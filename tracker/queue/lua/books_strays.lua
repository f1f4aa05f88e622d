-- Are these members of a place jobs that were handed out? `tracker/books.py` asks for those that
-- seemed not to be.
--
-- A job with a hash or a record was handed out, so the cursor is what is wrong; it is set right if
-- it is not far off. The jobs that it passes by are found lost, and put back, in the next sweep.
--
-- KEYS  1 meta
-- ARGV  1 place   2 '1': repair   3… member, its position in the crawl's order or -1
-- Returns {'books', how many, { { kind, member, 1 if repaired } … }} | {'no_crawl'}

-- include: known

local FAR = 10000 -- jobs

local place, repairs, found = ARGV[1], ARGV[2] == '1', {}
for i = 3, #ARGV, 2 do
  local j, position = ARGV[i], tonumber(ARGV[i + 1])
  local cursor = tonumber(redis.call('HGET', meta, 'cursor'))
  local there -- it may be gone since the place was read
  if place == 'finished' then
    there = redis.call('HEXISTS', key(place), j) == 1
  else
    there = redis.call('ZSCORE', key(place), j)
  end
  if there and (position < 0 or position >= cursor) then
    local known = position >= 0 and (redis.call('EXISTS', key('job:' .. j)) == 1
      or redis.call('HEXISTS', key('finished'), j) == 1)
    local kind = known and 'cursor_behind' or 'stray_in_' .. place
    local repaired = repairs and place ~= 'finished'
    if known then
      repaired = repairs and position - cursor < FAR
      if repaired then
        redis.call('HSET', meta, 'cursor', position + 1)
      end
    elseif repaired then
      redis.call('ZREM', key(place), j)
    end
    table.insert(found, { kind, j, repaired and 1 or 0 })
  end
end
return { 'books', (#ARGV - 2) / 2, found }
