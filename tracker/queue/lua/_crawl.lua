-- The crawl that KEYS[1], the key of its `meta`, belongs to; its other keys; the time; its events.
-- `../keys.py` says what each key holds.

local meta = KEYS[1]
local crawl = string.match(meta, '{(.+)}')

local function key(name)
  return string.sub(meta, 1, -5) .. name -- all but 'meta'
end

local time = redis.call('TIME') -- the server's clock: nobody else's is trusted
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The crawl's name and the time are in the stream's key and entry id; `tracker/events.py` adds
-- them. Old events are trimmed: the stream is a feed, not the record.
local function publish(event)
  redis.call('XADD', key('events'), 'MAXLEN', '~', 10000, '*', 'event', cjson.encode(event))
end
