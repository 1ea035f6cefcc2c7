-- needs: envelope
-- Move leases of what proved to be no envelope out of unacked, where Celery would choke on them.
--
-- KEYS  unacked, unacked_index, quarantine, quarantine_index
-- ARGV  tags

for _, tag in ipairs(ARGV) do
  local value = redis.call('HGET', KEYS[1], tag)
  if value then
    local _, _, _, length = read_tag(tag)
    local confined = 'umbel|Q|' .. string.sub(tag, #'umbel|L|' + 1)
    redis.call('HSET', KEYS[3], confined, string.sub(value, 2, length + 1))
    redis.call('ZADD', KEYS[4], redis.call('ZSCORE', KEYS[2], tag), confined)
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
  end
end
return 0
