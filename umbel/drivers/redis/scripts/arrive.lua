-- Count members of chords in, each once; give the chords that are full. Keys and claims are those
-- of Celery 5.7, so that workers of both kinds count together and one of them sends the body.
--
-- KEYS  per arrival: parts (.j), members added (.t), size (.s), who has arrived (.d), claim (.c),
--       the saved group
-- ARGV  '1' when parts are in order (a sorted set), else '0' (a list); milliseconds to keep the
--       counts (0: for ever); seconds that a claim of ours holds Celery's workers off;
--       per arrival: who, place, size where the message says it (else 0), part
-- Gives per arrival false, or, at the last one of a chord that is full and ours: the saved group or
-- false, and the parts.

local ordered, kept, claimed = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local last = {}
for i = 1, #KEYS / 6 do
  local base, given = 6 * (i - 1), 4 * (i - 1) + 3
  local parts, size, arrived, claim = KEYS[base + 1], KEYS[base + 3], KEYS[base + 4], KEYS[base + 5]
  if redis.call('GET', claim) ~= 'done' then
    if redis.call('SADD', arrived, ARGV[given + 1]) == 1 then
      if ordered == '1' then
        redis.call('ZADD', parts, ARGV[given + 2], ARGV[given + 4])
      else
        redis.call('RPUSH', parts, ARGV[given + 4])
      end
    end
    if ARGV[given + 3] ~= '0' then
      redis.call('SET', size, ARGV[given + 3], 'NX')
    end
    if kept > 0 then
      for key = base + 1, base + 4 do
        redis.call('PEXPIRE', KEYS[key], kept)
      end
    end
    last[parts] = i
  end
end

local answers = {}
for i = 1, #KEYS / 6 do
  local base = 6 * (i - 1)
  local parts, claim = KEYS[base + 1], KEYS[base + 5]
  answers[i] = false
  local size = redis.call('GET', KEYS[base + 3])
  if last[parts] == i and size then
    local expected = tonumber(size) + tonumber(redis.call('GET', KEYS[base + 2]) or 0)
    local count = redis.call(ordered == '1' and 'ZCARD' or 'LLEN', parts)
    local holder = redis.call('GET', claim)
    -- Any other holder is a worker of Celery's, which is sending the body.
    if count >= expected and (not holder or holder == 'umbel') then
      redis.call('SET', claim, 'umbel', 'EX', claimed)
      local found = redis.call(ordered == '1' and 'ZRANGE' or 'LRANGE', parts, 0, -1)
      answers[i] = {redis.call('GET', KEYS[base + 6]), found}
    end
  end
end
return answers
