-- Hold on to leased messages for longer.
--
-- KEYS  unacked_index (or the quarantine's)
-- ARGV  seconds from now, tags
-- Gives the tags that were not leased any more.

local clock = redis.call('TIME')
local deadline = string.format('%.6f', clock[1] + clock[2] / 1000000 + ARGV[1])
local lost, scores = {}, {}
for i = 2, #ARGV do
  scores[#scores + 1] = deadline
  scores[#scores + 1] = ARGV[i]
end
if redis.call('ZADD', KEYS[1], 'XX', 'CH', unpack(scores)) ~= #ARGV - 1 then
  for i = 2, #ARGV do
    if not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
      lost[#lost + 1] = ARGV[i]
    end
  end
end
return lost
