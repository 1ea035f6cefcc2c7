-- needs: envelope
-- Accept messages that are due later: park them while an umbel worker is there to fetch them,
-- else put them into their list, where Celery's workers wait for the ETA themselves.
--
-- KEYS  unacked, unacked_index, delayed, wake
-- ARGV  per message: unique, due, 1 when nobody but us can know when it is due, the zset of
--       workers that consume its queue, list, envelope, what follows it in kombu's record
-- Gives per message nothing, or why it was refused.

local now = server_time()
local answers = {}
for i = 1, #ARGV, 7 do
  local unique, due, ours, consumers, list, raw, suffix =
    ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]
  local done = 0
  if due <= now then
    done = redis.pcall('LPUSH', list, raw)
  elseif ours == '1' or redis.call('ZCOUNT', consumers, now, '+inf') > 0 then
    local tag = 'umbel|P|' .. unique .. '|0|' .. #raw .. '|' .. list
    park(KEYS[1], KEYS[2], KEYS[3], KEYS[4], tag, '[' .. raw .. suffix, due)
  else
    done = redis.pcall('LPUSH', list, raw)
  end
  answers[#answers + 1] = type(done) == 'table' and done.err or false
end
return answers
