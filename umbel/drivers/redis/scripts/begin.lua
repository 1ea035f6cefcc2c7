-- Let leased messages never be work again: their deadlines, renewed, move to where no Celery
-- worker looks for what to give back.
--
-- KEYS  unacked, unacked_index, begun
-- ARGV  the seconds of a lease, tags
-- Gives the tags that were not leased any more.

local clock = redis.call('TIME')
local deadline = string.format('%.6f', clock[1] + clock[2] / 1000000 + ARGV[1])
local scores = {}
for i = 2, #ARGV do
  scores[2 * i - 3] = deadline
  scores[2 * i - 2] = ARGV[i]
end
if redis.call('ZREM', KEYS[2], unpack(ARGV, 2)) == #ARGV - 1 then
  redis.call('ZADD', KEYS[3], unpack(scores))
  return {}
end
local lost = {}
for i = 2, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    redis.call('ZADD', KEYS[3], deadline, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
