-- Keep revocations, the latest with the highest score.
--
-- KEYS  the sorted set
-- ARGV  how many to keep, the revocations

local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
local score = tonumber(last[2] or 0)
for place = 2, #ARGV do
  score = score + 1
  redis.call('ZADD', KEYS[1], score, ARGV[place])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[1]) - 1)
return 0
