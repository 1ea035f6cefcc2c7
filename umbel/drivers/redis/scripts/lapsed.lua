-- needs: envelope
-- Lease once more what was begun by workers that renew it no more, for others to say so.
--
-- KEYS  unacked, begun of each queue
-- ARGV  how many, seconds of the new lease, what our tags begin with
-- Gives tag and envelope of each message.

local now = server_time()
local need = tonumber(ARGV[1])
local deadline = string.format('%.6f', now + ARGV[2])
local count = 0
local reply = {}
for i = 2, #KEYS do
  for _, tag in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', now, 'LIMIT', 0, need)) do
    local _, _, handed, length, list = read_tag(tag)
    local value = redis.call('HGET', KEYS[1], tag)
    redis.call('ZREM', KEYS[i], tag)
    if value then
      count = count + 1
      need = need - 1
      local ours = 'umbel|L|' .. ARGV[3] .. count .. '|' .. (handed + 1) .. '|' .. length .. '|' .. list
      redis.call('HDEL', KEYS[1], tag)
      redis.call('HSET', KEYS[1], ours, value)
      redis.call('ZADD', KEYS[i], deadline, ours)
      reply[#reply + 1] = ours
      reply[#reply + 1] = string.sub(value, 2, length + 1)
    end
  end
end
return reply
