-- Forget leased messages for good.
--
-- KEYS  unacked, unacked_index (or begun, or both of the quarantine)
-- ARGV  tags
-- Gives the tags that were not leased any more.

if redis.call('ZREM', KEYS[2], unpack(ARGV)) == #ARGV then
  redis.call('HDEL', KEYS[1], unpack(ARGV))
  return {}
end
local lost = {}
for _, tag in ipairs(ARGV) do
  if redis.call('HDEL', KEYS[1], tag) == 0 then
    lost[#lost + 1] = tag
  end
end
return lost
