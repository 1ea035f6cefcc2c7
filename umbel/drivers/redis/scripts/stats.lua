-- needs: envelope
-- Count ready, leased and parked messages, list by list.
--
-- KEYS  unacked, unacked_index, quarantine_index, lists, begun of each queue
-- ARGV  how many entries to look at, how many lists, per list the end of kombu's record of a
--       message of Celery's
-- Gives per list: ready, leased, parked. What Celery's workers hold counts for the first list of
--       its queue.

local counts = {}
local place, by_end, longest = {}, {}, 0
local LAST_LIST = 3 + ARGV[2]
for i = 4, LAST_LIST do
  local length = redis.pcall('LLEN', KEYS[i])
  counts[#counts + 1] = type(length) == 'number' and length or 0
  counts[#counts + 1] = 0
  counts[#counts + 1] = 0
  place[KEYS[i]] = #counts - 2
  by_end[ARGV[i - 1]] = by_end[ARGV[i - 1]] or #counts - 2
end
local most = ARGV[1] - 1
local function count(tag)
  local kind, _, _, _, list = read_tag(tag)
  local at = kind and place[list]
  if kind then
    if at then
      local slot = kind == 'P' and at + 2 or at + 1
      counts[slot] = counts[slot] + 1
    end
    return
  end
  local value = redis.call('HGET', KEYS[1], tag) or ''
  for ending, first in pairs(by_end) do
    if string.sub(value, -#ending) == ending then
      counts[first + 1] = counts[first + 1] + 1
    end
  end
end
for _, tag in ipairs(redis.call('ZRANGE', KEYS[2], 0, most)) do
  count(tag)
end
for _, tag in ipairs(redis.call('ZRANGE', KEYS[3], 0, most)) do
  count(tag)
end
for i = LAST_LIST + 1, #KEYS do
  for _, tag in ipairs(redis.call('ZRANGE', KEYS[i], 0, most)) do
    count(tag)
  end
end
return counts
