-- needs: envelope
-- Give leased messages back: to the end of their list that is served first, or parked.
--
-- KEYS  unacked, unacked_index (or begun, or both of the quarantine), delayed, wake
-- ARGV  seconds to wait, 1 when somebody had them, then tag and times handed out of each message
-- Gives the tags that were not leased any more.

local unacked, index, delayed, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local delay = tonumber(ARGV[1])
local again = ARGV[2] == '1'
local now = server_time()
local lost = {}

-- Backwards, so that the first one is served first again.
for i = #ARGV - 1, 3, -2 do
  local tag, handed = ARGV[i], tonumber(ARGV[i + 1])
  local value = redis.call('HGET', unacked, tag)
  local kind, unique, _, length, list = read_tag(tag)
  if not value or not kind then
    lost[#lost + 1] = tag
  elseif kind == 'Q' then
    redis.call('RPUSH', list, value)
    redis.call('HDEL', unacked, tag)
    redis.call('ZREM', index, tag)
  else
    local raw = marked(string.sub(value, 2, length + 1), handed, again)
    if delay > 0 then
      local parked = 'umbel|P|' .. unique .. '|' .. handed .. '|' .. #raw .. '|' .. list
      local whole = '[' .. raw .. string.sub(value, length + 2)
      park(unacked, index, delayed, wake, parked, whole, now + delay)
    else
      redis.call('RPUSH', list, raw)
    end
    redis.call('HDEL', unacked, tag)
    redis.call('ZREM', index, tag)
  end
end
return lost
