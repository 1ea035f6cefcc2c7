-- Count members of chords in, each once; give the chords that are full, or lost. Keys and claims are
-- those of Celery 5.7, so that workers of both kinds count together and one of them sends the body;
-- but for the last key.
--
-- KEYS  per arrival: parts (.j), members added (.t), size (.s), who has arrived (.d), claim (.c),
--       the saved group, the body as it was said when the chord was expected
-- ARGV  '1' when parts are in order (a sorted set), else '0' (a list); milliseconds to keep the
--       counts (0: for ever); seconds that a claim of ours holds Celery's workers off;
--       per arrival: who, place, part; before the part 'expected' when the body was said before any
--       member was sent, 'unread' when the message says nothing, else its size (0: not said)
-- Gives per arrival false, or, at the last one of a chord: 'lost' when it was expected, and nothing
-- is known of it; when it is full and ours, the saved group or false, the parts, the body or false.

local ordered, kept, claimed = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local last, lost = {}, {}
for i = 1, #KEYS / 7 do
  local base, given = 7 * (i - 1), 4 * (i - 1) + 3
  local parts, size, arrived, claim = KEYS[base + 1], KEYS[base + 3], KEYS[base + 4], KEYS[base + 5]
  local body, said = KEYS[base + 7], ARGV[given + 3]
  if redis.call('GET', claim) ~= 'done' then
    local known = 1 == (kept > 0 and redis.call('PEXPIRE', body, kept) or redis.call('EXISTS', body))
    if said == 'expected' and not known then
      lost[parts] = true
    end
    if not lost[parts] and (said ~= 'unread' or known or redis.call('EXISTS', size) == 1) then
      if redis.call('SADD', arrived, ARGV[given + 1]) == 1 then
        if ordered == '1' then
          redis.call('ZADD', parts, ARGV[given + 2], ARGV[given + 4])
        else
          redis.call('RPUSH', parts, ARGV[given + 4])
        end
      end
      if said ~= '0' and said ~= 'expected' and said ~= 'unread' then
        redis.call('SET', size, said, 'NX')
      end
      if kept > 0 then
        for key = base + 1, base + 4 do
          redis.call('PEXPIRE', KEYS[key], kept)
        end
      end
    end
    if said ~= 'unread' or known then
      last[parts] = i
    end
  end
end

local answers = {}
for i = 1, #KEYS / 7 do
  local base = 7 * (i - 1)
  local parts, claim = KEYS[base + 1], KEYS[base + 5]
  answers[i] = false
  if last[parts] == i then
    local size = redis.call('GET', KEYS[base + 3])
    if lost[parts] then
      answers[i] = 'lost'
    elseif size then
      local expected = tonumber(size) + tonumber(redis.call('GET', KEYS[base + 2]) or 0)
      local count = redis.call(ordered == '1' and 'ZCARD' or 'LLEN', parts)
      local holder = redis.call('GET', claim)
      -- Any other holder is a worker of Celery's, which is sending the body.
      if count >= expected and (not holder or holder == 'umbel') then
        redis.call('SET', claim, 'umbel', 'EX', claimed)
        local found = redis.call(ordered == '1' and 'ZRANGE' or 'LRANGE', parts, 0, -1)
        local unread = ARGV[4 * (i - 1) + 6] == 'unread'
        local group = redis.call('GET', KEYS[base + 6])
        answers[i] = {group, found, unread and redis.call('GET', KEYS[base + 7])}
      end
    end
  end
end
return answers
