-- Expect more members of a chord, each once, where Celery's workers look for their number.
--
-- KEYS  the tasks that were added, how many there are (.t)
-- ARGV  milliseconds to keep both (0: for ever), the tasks

for i = 2, #ARGV do
  if redis.call('SADD', KEYS[1], ARGV[i]) == 1 then
    redis.call('INCR', KEYS[2])
  end
end
if ARGV[1] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
