-- Put a message that a Celery worker left back into its lists, unless somebody was faster.
--
-- KEYS  unacked, unacked_index
-- ARGV  tag, the record as it was read, the envelope to push, lists
-- Gives 1 when it was put back.

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
for i = 4, #ARGV do
  redis.call('RPUSH', ARGV[i], ARGV[3])
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
