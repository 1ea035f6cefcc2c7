-- needs: envelope
-- Put leased messages aside, where people can look at the last of them.
--
-- KEYS  unacked, unacked_index (or begun, or both of the quarantine), dead
-- ARGV  how many to keep, tags
-- Gives the tags that were not leased any more.

local lost = {}
for i = 2, #ARGV do
  local tag = ARGV[i]
  local value = redis.call('HGET', KEYS[1], tag)
  if value then
    local kind, _, _, length = read_tag(tag)
    redis.call('LPUSH', KEYS[3], kind == 'Q' and value or string.sub(value, 2, length + 1))
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
  else
    lost[#lost + 1] = tag
  end
end
redis.call('LTRIM', KEYS[3], 0, ARGV[1] - 1)
return lost
