-- needs: envelope
-- Give back what umbel workers leased and did not renew.
--
-- KEYS  unacked, unacked_index (or the quarantine's), delayed
-- ARGV  the deadline to look from, how many entries to look at
-- Gives the deadline to look from next time, and how many messages were given back.

local now = server_time()
local most = tonumber(ARGV[2])
local entries =
  redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[1], now, 'WITHSCORES', 'LIMIT', 0, most)
local returned = 0

-- Backwards, so that the one that was leased first is served first again.
for i = #entries - 1, 1, -2 do
  local tag = entries[i]
  local kind, _, handed, length, list = read_tag(tag)
  local is_parked = kind == 'P'
  -- A parked message moves when somebody takes; only one that its zset has lost is ours to save.
  if kind and not (is_parked and redis.call('ZSCORE', KEYS[3], tag)) then
    local value = redis.call('HGET', KEYS[1], tag)
    local pushed = 0
    if value and kind == 'Q' then
      pushed = redis.pcall('RPUSH', list, value)
    elseif value then
      local raw = string.sub(value, 2, length + 1)
      local _, _, _, _, _, was_started = read_mark(raw)
      if not is_parked and (handed == 0 or was_started) then
        handed = handed + 1
      end
      pushed = redis.pcall('RPUSH', list, marked(raw, handed, not is_parked))
    end
    if type(pushed) == 'number' then
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
      returned = returned + (value and 1 or 0)
    end
  end
end
local from = string.format('%.6f', now)
if #entries == 2 * most then
  from = entries[#entries]
end
return { from, returned }
