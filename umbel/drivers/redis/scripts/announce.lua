-- Say that a worker consumes queues, or does not any more.
--
-- KEYS  a zset of workers per queue
-- ARGV  the worker, seconds for which it is true (0: not any more)
-- Gives in how many of the zsets it was not before.

local clock = redis.call('TIME')
local now = tonumber(clock[1])
local added = 0
for _, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  if tonumber(ARGV[2]) > 0 then
    added = added + redis.call('ZADD', key, now + ARGV[2], ARGV[1])
    redis.call('EXPIRE', key, math.ceil(tonumber(ARGV[2])) + 1)
  else
    redis.call('ZREM', key, ARGV[1])
  end
end
return added
