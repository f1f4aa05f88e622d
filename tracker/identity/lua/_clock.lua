-- `root`, and `now` in ms on Redis's clock: those of callers and processes are not trusted.
local root = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local function ms(time)
  return string.format('%.3f', time)
end
