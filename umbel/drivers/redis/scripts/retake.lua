-- needs: envelope
-- Give back what a take leased whose answer never arrived.
--
-- KEYS  unacked, unacked_index
-- ARGV  seconds of the lease, seconds since the take was sent at the earliest, what its tags
--       begin with
-- Gives how many messages were given back.

local now = server_time()
local latest = now + ARGV[1] + 1
local tags = redis.call('ZRANGEBYSCORE', KEYS[2], latest - ARGV[2] - 2, latest)
local beginning = 'umbel|L|' .. ARGV[3]
local returned = 0
for i = #tags, 1, -1 do
  local tag = tags[i]
  if string.sub(tag, 1, #beginning) == beginning then
    local _, _, handed, length, list = read_tag(tag)
    local value = redis.call('HGET', KEYS[1], tag)
    if value then
      redis.call('RPUSH', list, marked(string.sub(value, 2, length + 1), handed))
      redis.call('HDEL', KEYS[1], tag)
      returned = returned + 1
    end
    redis.call('ZREM', KEYS[2], tag)
  end
end
return returned
