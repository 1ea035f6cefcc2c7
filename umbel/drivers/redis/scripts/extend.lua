-- Hold on to leased messages for longer.
--
-- KEYS  where the deadlines are: unacked_index, begun or the quarantine's; where else they may be
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
    if redis.call('ZSCORE', KEYS[2], ARGV[i]) then
      redis.call('ZADD', KEYS[2], deadline, ARGV[i])
    elseif not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
      lost[#lost + 1] = ARGV[i]
    end
  end
end
return lost
