-- Change entries of the schedule, each only if it is as the caller has seen it; and push the
-- messages of those that were changed.
--
-- KEYS  the leader's hash, the hash of states, the hash of entries, lists to push to ...
-- ARGV  the term that must still run (or ''), whether this changes what is scheduled, and for
--       each change: name, state as seen ('' for none), state to be ('' to delete), entry to be
--       ('' to keep), how many messages, and for each the place of its list in KEYS and itself
-- Returns 1 for each change that was made, 0 for others.

local done = {}
local valid = ARGV[1] == '' or redis.call('HGET', KEYS[1], 'term') == ARGV[1]
local place = 3
while place <= #ARGV do
  local name, seen, state, entry = ARGV[place], ARGV[place + 1], ARGV[place + 2], ARGV[place + 3]
  local messages = tonumber(ARGV[place + 4])
  place = place + 5
  local ours = valid and (redis.call('HGET', KEYS[2], name) or '') == seen
  if ours then
    if state == '' then
      redis.call('HDEL', KEYS[2], name)
      redis.call('HDEL', KEYS[3], name)
    else
      redis.call('HSET', KEYS[2], name, state)
    end
    if entry ~= '' then
      redis.call('HSET', KEYS[3], name, entry)
    end
  end
  for _ = 1, messages do
    if ours then
      redis.call('LPUSH', KEYS[tonumber(ARGV[place])], ARGV[place + 1])
    end
    place = place + 2
  end
  done[#done + 1] = ours and 1 or 0
end
if valid and ARGV[2] == '1' then
  redis.call('HINCRBY', KEYS[1], 'version', 1)
end
return done
