-- What several scripts know about envelopes and tags.
--
-- An envelope is kombu's JSON object, as text. It is cut and joined, never decoded and encoded
-- again: cjson changes numbers and empty lists. What we have to remember about a message that
-- waits in a list is its first key, which kombu passes over:
--     {"umbel":"<times handed out>|<due>|<expires>|<r>", ...the envelope as it was...
-- What counts is that a holder died. r says that it was handed out at all; s instead of it that
-- it has been started since it came back.
--
-- A tag says everything about what is kept under it:
--     umbel|<kind>|<unique>|<times handed out before>|<length of the envelope>|<list>
-- Kind L is leased, P is parked until due, Q is leased and no envelope at all.

local MARK = '{"umbel":'

-- times handed out, due, expires, where the envelope's own keys begin, whether handed out at all,
-- whether started since it came back
local function read_mark(raw)
  if string.sub(raw, 1, #MARK) ~= MARK then
    return 0, nil, nil, 2, false
  end
  local handed, due, expires, was, rest =
    string.match(raw, '^{"umbel":%s*"(%d%d?%d?%d?%d?%d?)|([%d.]*)|([%d.]*)|?([rs]?)",%s*()')
  if not handed then
    return 0, nil, nil, 2, false
  end
  return tonumber(handed), tonumber(due), tonumber(expires), rest, was ~= '', was == 's'
end

local function marked(raw, handed, again)
  local _, _, expires, rest, was = read_mark(raw)
  again = again or was
  if handed == 0 and not expires and not again then
    return '{' .. string.sub(raw, rest)
  end
  local until_when = expires and string.format('%.6f', expires) or ''
  local ending = again and '|r",' or '",'
  return MARK .. '"' .. handed .. '||' .. until_when .. ending .. string.sub(raw, rest)
end

-- kind, unique, times handed out before, length, list
local function read_tag(tag)
  local kind, unique, handed, length, list =
    string.match(tag, '^umbel|(%u)|([^|]*)|(%d+)|(%d+)|(.*)$')
  return kind, unique, tonumber(handed), tonumber(length), list
end

local function server_time()
  local clock = redis.call('TIME')
  return clock[1] + clock[2] / 1000000
end

-- Keep a message until it is due, where Celery's workers look for what was left behind: they
-- restore it a visibility timeout after it was due, should there be no umbel worker any more.
local function park(unacked, index, delayed, wake, tag, value, due)
  local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
  local when = string.format('%.6f', due)
  redis.call('HSET', unacked, tag, value)
  redis.call('ZADD', index, when, tag)
  redis.call('ZADD', delayed, when, tag)
  if not first or due < tonumber(first) then
    -- Whoever sleeps until the first one is due has asked to be told when this key changes.
    redis.call('SET', wake, 1)
    redis.call('DEL', wake)
  end
end
