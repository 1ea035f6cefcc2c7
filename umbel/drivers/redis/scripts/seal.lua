-- Chords whose bodies are sent: forget the counts, and remember that they are done.
--
-- KEYS  per chord: claim (.c), parts (.j), members added (.t), size (.s), who has arrived (.d),
--       which were added, the body
-- ARGV  seconds to remember

for i = 1, #KEYS / 7 do
  local base = 7 * (i - 1)
  local holder = redis.call('GET', KEYS[base + 1])
  -- A worker of Celery's that holds the claim, because ours had run out, cleans up by itself.
  if not holder or holder == 'done' or holder == 'umbel' then
    redis.call('SET', KEYS[base + 1], 'done', 'EX', ARGV[1])
    for key = base + 2, base + 7 do
      redis.call('DEL', KEYS[key])
    end
  end
end
