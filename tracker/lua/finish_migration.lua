-- Note that the data is of this version now; never an older one than is noted.
--
-- KEYS  1 {store}:schema
-- ARGV  1 version
-- Returns the version that is noted

local noted = redis.call('GET', KEYS[1])
if not noted or tonumber(noted) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
end
return redis.call('GET', KEYS[1])
