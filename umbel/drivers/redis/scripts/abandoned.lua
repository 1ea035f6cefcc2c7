-- What Celery's workers took and left: entries that are not ours, older than their timeout.
--
-- KEYS  unacked, unacked_index
-- ARGV  the visibility timeout in seconds, how many to look at
-- Gives tag and record of each.

local clock = redis.call('TIME')
local until_when = clock[1] + clock[2] / 1000000 - ARGV[1]
local tags = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', until_when, 'LIMIT', 0, ARGV[2])
local found = {}
for _, tag in ipairs(tags) do
  if string.sub(tag, 1, 6) ~= 'umbel|' then
    local value = redis.call('HGET', KEYS[1], tag)
    if value then
      found[#found + 1] = tag
      found[#found + 1] = value
    else
      redis.call('ZREM', KEYS[2], tag)
    end
  end
end
return found
