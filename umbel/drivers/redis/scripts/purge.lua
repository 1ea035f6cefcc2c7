-- needs: envelope
-- Drop every message nobody holds.
--
-- KEYS  unacked, unacked_index, delayed, lists
-- Gives how many were dropped.

local dropped = 0
local is_ours = {}
for i = 4, #KEYS do
  local length = redis.pcall('LLEN', KEYS[i])
  if type(length) == 'number' then
    dropped = dropped + length
    redis.call('DEL', KEYS[i])
  end
  is_ours[KEYS[i]] = true
end
for _, tag in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local _, _, _, _, list = read_tag(tag)
  if is_ours[list] then
    redis.call('ZREM', KEYS[3], tag)
    redis.call('ZREM', KEYS[2], tag)
    dropped = dropped + redis.call('HDEL', KEYS[1], tag)
  end
end
return dropped
