-- Lead the schedulers from now on, unless another one does. Time is Redis' own.
--
-- KEYS  the leader's hash
-- ARGV  owner, lease in seconds

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local kept = redis.call('HMGET', KEYS[1], 'owner', 'term', 'until', 'version')
local owner, term = kept[1] or '', tonumber(kept[2] or 0)
local till, version = tonumber(kept[3] or 0), tonumber(kept[4] or 0)
if owner == ARGV[1] or till <= now then
  if owner ~= ARGV[1] or till <= 0 then
    term = term + 1
  end
  owner = ARGV[1]
  redis.call('HSET', KEYS[1], 'owner', owner, 'term', term,
    'until', string.format('%.6f', now + tonumber(ARGV[2])))
end
return {owner, term, version}
