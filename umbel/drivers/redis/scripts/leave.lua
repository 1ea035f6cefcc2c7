-- Let whoever looks next notice that the holder of begun messages is gone.
--
-- KEYS  begun
-- ARGV  tags

local scores = {}
for _, tag in ipairs(ARGV) do
  scores[#scores + 1] = 0
  scores[#scores + 1] = tag
end
redis.call('ZADD', KEYS[1], 'XX', unpack(scores))
return 0
