-- needs: envelope
-- Put leased messages with the dead letters, and let those go that are too many or too old.
--
-- KEYS  unacked, unacked_index (or begun, or both of the quarantine), letters, their index
-- ARGV  how many to keep, how many seconds (0: for ever), then tag and what to say of each
-- Gives the tags that were not leased any more.

local now = server_time()
local lost = {}
for i = 3, #ARGV, 2 do
  local tag = ARGV[i]
  local value = redis.call('HGET', KEYS[1], tag)
  if value then
    local kind, unique, _, length = read_tag(tag)
    local raw = kind == 'Q' and value or string.sub(value, 2, length + 1)
    redis.call('HSET', KEYS[3], unique, ARGV[i + 1] .. '\n' .. raw)
    redis.call('ZADD', KEYS[4], string.format('%.6f', now), unique)
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
  else
    lost[#lost + 1] = tag
  end
end

local function forget(ids)
  for _, id in ipairs(ids) do
    redis.call('HDEL', KEYS[3], id)
    redis.call('ZREM', KEYS[4], id)
  end
end

local too_many = redis.call('ZCARD', KEYS[4]) - ARGV[1]
if too_many > 0 then
  forget(redis.call('ZRANGE', KEYS[4], 0, math.min(too_many, 1000) - 1))
end
if tonumber(ARGV[2]) > 0 then
  forget(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[2], 'LIMIT', 0, 1000))
end
return lost
