-- Count members of chords in, each index once; give the chords that are full.
--
-- KEYS  per arrival: the chord's records, the note that it is sealed
-- ARGV  how many milliseconds to keep them; per arrival: index, size, record
-- Gives per arrival false, or index and record of every member when the chord is full.

local answers = {}
for i = 1, #KEYS / 2 do
  local chord, sealed = KEYS[2 * i - 1], KEYS[2 * i]
  local index, size, record = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local answer = false
  if redis.call('EXISTS', sealed) == 0 then
    redis.call('HSETNX', chord, index, record)
    redis.call('PEXPIRE', chord, ARGV[1])
    if redis.call('HLEN', chord) >= tonumber(size) then
      answer = redis.call('HGETALL', chord)
    end
  end
  answers[i] = answer
end
return answers
