-- Store results that must not replace what is more final, and tell who waits for them.
--
-- KEYS  one per result
-- ARGV  per result: document, milliseconds to keep it (0: for ever), the states it must not
--       replace as |A|B|, and the SHA-1 of the document it may replace whatever its state (or '')
-- Gives per result: 1 when stored, 0 when what is there stays, or the document that is there when
--       its state cannot be seen from here (compressed, pickled).

local answers = {}
for i = 1, #KEYS do
  local body, ttl, protected, known = ARGV[4 * i - 3], ARGV[4 * i - 2], ARGV[4 * i - 1], ARGV[4 * i]
  local present = redis.call('GET', KEYS[i])
  local answer = 1
  if present and not (known ~= '' and redis.sha1hex(present) == known) then
    -- The first key of a document, as umbel and Celery write it; a status further in could be
    -- part of somebody's result.
    local state = string.match(present, '^{%s*"status"%s*:%s*"([^"\\]*)"')
    if not state then
      answer = present
    elseif string.find(protected, '|' .. state .. '|', 1, true) then
      answer = 0
    end
  end
  if answer == 1 then
    if ttl == '0' then
      redis.call('SET', KEYS[i], body)
    else
      redis.call('SET', KEYS[i], body, 'PX', ttl)
    end
    redis.call('PUBLISH', KEYS[i], body)
  end
  answers[i] = answer
end
return answers
