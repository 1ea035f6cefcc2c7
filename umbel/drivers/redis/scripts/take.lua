-- needs: envelope
-- Move what has become due into its list, then lease up to a number of messages, all in one step.
--
-- KEYS  unacked, unacked_index, quarantine, quarantine_index, delayed, wake, lists in order
-- ARGV  how many, seconds of the lease, what our tags begin with, then per list what follows the
--       envelope in kombu's record: ,"","queue"]
-- Gives seconds until the next message is due (or false), why a list could not be read (or
--       false), then tag and envelope of each message.

local unacked, index, quarantine, quarantine_index, delayed, wake =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local FIRST_LIST = 7
local MOST_MOVED = 1000
-- Half the time that it takes to append numbers to strings.
local TAG = 'umbel|%s|%s%d|%d|%d|%s'
local now = server_time()

-- Errors have to come before the first message is taken: a script that fails half way is not undone.
redis.call('HLEN', unacked)
redis.call('ZCARD', index)
redis.call('HLEN', quarantine)
redis.call('ZCARD', quarantine_index)

local function move_due()
  local tags = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, MOST_MOVED)
  for _, tag in ipairs(tags) do
    local value = redis.call('HGET', unacked, tag)
    local _, _, handed, length, list = read_tag(tag)
    if value and list then
      local moved = redis.pcall('LPUSH', list, marked(string.sub(value, 2, length + 1), handed))
      if type(moved) == 'table' and moved.err then
        redis.call('ZADD', delayed, now + 60, tag)
      else
        redis.call('HDEL', unacked, tag)
        redis.call('ZREM', index, tag)
        redis.call('ZREM', delayed, tag)
      end
    else
      redis.call('ZREM', delayed, tag)
    end
  end
end

local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if first and tonumber(first) <= now then
  move_due()
  first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
end

local need = tonumber(ARGV[1])
local deadline = string.format('%.6f', now + ARGV[2])
local beginning = ARGV[3]
local count = 0
local reply = { false, false }
local fields, scores = {}, {}

local function lease(raw, list, suffix)
  if string.byte(raw, 1) ~= 123 or string.byte(raw, -1) ~= 125 then
    -- No envelope: Celery would choke on it in unacked, so it is leased elsewhere.
    count = count + 1
    local tag = string.format(TAG, 'Q', beginning, count, 0, #raw, list)
    redis.call('HSET', quarantine, tag, raw)
    redis.call('ZADD', quarantine_index, deadline, tag)
    reply[#reply + 1] = tag
    reply[#reply + 1] = raw
    return 1
  end
  local handed, due, expires = read_mark(raw)
  if expires and expires <= now then
    return 0
  end
  count = count + 1
  if due and due > now then
    local parked = string.format(TAG, 'P', beginning, count, handed, #raw, list)
    park(unacked, index, delayed, wake, parked, '[' .. raw .. suffix, due)
    return 0
  end
  local tag = string.format(TAG, 'L', beginning, count, handed, #raw, list)
  fields[#fields + 1] = tag
  fields[#fields + 1] = '[' .. raw .. suffix
  scores[#scores + 1] = deadline
  scores[#scores + 1] = tag
  reply[#reply + 1] = tag
  reply[#reply + 1] = raw
  return 1
end

local looked_at = 0
for i = FIRST_LIST, #KEYS do
  local more = need > 0
  while more and looked_at < 2000 do
    local raws = redis.pcall('RPOP', KEYS[i], need)
    if raws and raws.err then
      reply[2] = raws.err
      raws = false
    end
    local found = raws and #raws or 0
    more = found == need
    looked_at = looked_at + found
    for j = 1, found do
      need = need - lease(raws[j], KEYS[i], ARGV[i - FIRST_LIST + 4])
    end
    more = more and need > 0
  end
end

if #fields > 0 then
  redis.call('HSET', unacked, unpack(fields))
  redis.call('ZADD', index, unpack(scores))
end
first = first and redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if first then
  reply[1] = string.format('%.6f', first - now)
end
return reply
