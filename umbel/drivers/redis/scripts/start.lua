-- Note that messages which had been handed out before are about to be run.
--
-- KEYS  unacked
-- ARGV  tags
-- Gives the tags that were not leased any more.

local lost = {}
for _, tag in ipairs(ARGV) do
  local value = redis.call('HGET', KEYS[1], tag)
  if value then
    -- The same length: tags and kombu's records stay right.
    local noted, found = string.gsub(value, '^(%[{"umbel":%s*"[%d.|]*|)r"', '%1s"', 1)
    if found == 1 then
      redis.call('HSET', KEYS[1], tag, noted)
    end
  else
    lost[#lost + 1] = tag
  end
end
return lost
