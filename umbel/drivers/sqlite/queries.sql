-- Every statement of the driver, by name. No RETURNING, no STRICT, no json_each: SQLite 3.24 of
-- 2018 is enough.

-- ------------------------------------------------------------------------------ the database

-- name: get_version
SELECT value FROM umbel_meta WHERE key = 'version';

-- name: set_version
INSERT INTO umbel_meta (key, value) VALUES ('version', ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: touch
-- Find out whether the file can be written.
UPDATE umbel_meta SET value = value WHERE key = 'version';

-- name: add_begun
ALTER TABLE umbel_messages ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;

-- name: add_redelivered
ALTER TABLE umbel_messages ADD COLUMN redelivered INTEGER NOT NULL DEFAULT 0;

-- name: drop_chord_members
DROP TABLE umbel_chord_members;

-- name: drop_chords
DROP TABLE umbel_chords;

-- name: has_table
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?;

-- name: add_chord_body
ALTER TABLE umbel_chords ADD COLUMN body BLOB;

-- name: add_leased_at
ALTER TABLE umbel_messages ADD COLUMN leased_at REAL;

-- name: add_leased_until
ALTER TABLE umbel_messages ADD COLUMN leased_until REAL;

-- name: drop_later
DROP INDEX IF EXISTS umbel_messages_later;

-- name: last_leader
SELECT owner, term, version FROM umbel_schedule_leader;

-- name: drop_leader
DROP TABLE umbel_schedule_leader;

-- name: keep_leader
INSERT INTO umbel_schedule_leader (id, owner, term, led_at, led_until, version)
VALUES (1, ?, ?, 0, 0, ?);

-- name: end_foreign_leases
-- Those that begin later than now: of another machine, or from before this one was started. Who
-- had them is dead.
UPDATE umbel_messages SET leased_until = 0 WHERE leased_until IS NOT NULL AND leased_at > ?;

-- name: data_version
-- Another number after each commit of another connection.
PRAGMA data_version;

-- name: begin
-- The write lock at once: a transaction that reads first and writes later can fail half way.
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- ------------------------------------------------------------------------------ listeners

-- name: add_listener
INSERT OR REPLACE INTO umbel_listeners (name, kind) VALUES (?, ?);

-- name: remove_listener
DELETE FROM umbel_listeners WHERE name = ?;

-- name: listeners
SELECT name FROM umbel_listeners WHERE kind = ?;

-- ------------------------------------------------------------------------------ queues

-- name: queue_by_name
SELECT id, message_ttl FROM umbel_queues WHERE name = ?;

-- name: add_queue
INSERT INTO umbel_queues (name) VALUES (?);

-- name: queue_definition
SELECT definition FROM umbel_queues WHERE name = ?;

-- name: define_queue
INSERT INTO umbel_queues (name, definition, message_ttl) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE
SET definition = excluded.definition, message_ttl = excluded.message_ttl;

-- name: count_expired
UPDATE umbel_queues SET expired = expired + ? WHERE id = ?;

-- name: add_binding
INSERT OR IGNORE INTO umbel_bindings (exchange, type, routing_key, queue, arguments)
VALUES (?, ?, ?, ?, ?);

-- name: last_binding
-- Bindings are only ever added: another number means that there are more.
SELECT max(id) FROM umbel_bindings;

-- name: bindings
SELECT exchange, type, routing_key, queue, arguments FROM umbel_bindings ORDER BY id;

-- ------------------------------------------------------------------------------ messages

-- name: put
INSERT INTO umbel_messages (queue, rank, due, drop_at, message) VALUES (?, ?, ?, ?, ?);

-- name: any_ready
SELECT 1 FROM umbel_messages WHERE queue = ? AND due IS NULL LIMIT 1;

-- name: next_due
-- When something is due, by the wall clock; when a lease ends, by the machine's.
SELECT
    (SELECT min(due) FROM umbel_messages WHERE due IS NOT NULL AND leased_until IS NULL),
    (SELECT min(leased_until) FROM umbel_messages WHERE leased_until IS NOT NULL);

-- name: promote
-- What has become due, and what is no longer on loan, is ready. Bounded, so that a flood of them
-- does not keep the others waiting.
UPDATE umbel_messages
SET
    due = NULL,
    leased_at = NULL,
    leased_until = NULL,
    attempt = attempt + (token IS NOT NULL AND (attempt = 0 OR redelivered = 2)),
    redelivered = max(min(redelivered, 1), token IS NOT NULL),
    token = NULL
WHERE seq IN (
    SELECT seq FROM (
        SELECT seq FROM umbel_messages
        WHERE due <= ? AND leased_until IS NULL ORDER BY due LIMIT 1000
    )
    UNION ALL
    SELECT seq FROM (
        SELECT seq FROM umbel_messages WHERE leased_until <= ? ORDER BY leased_until LIMIT 1000
    )
);

-- name: overdue
-- Nobody took these in time, and nobody has them.
SELECT seq, queue FROM umbel_messages WHERE drop_at <= ? AND token IS NULL AND begun = 0
LIMIT 1000;

-- name: remove
DELETE FROM umbel_messages WHERE seq = ?;

-- name: first_ready
SELECT seq, attempt, message, begun, redelivered FROM umbel_messages
WHERE queue = ? AND due IS NULL AND (drop_at IS NULL OR drop_at > ? OR begun)
ORDER BY rank, seq LIMIT ?;

-- name: lend
UPDATE umbel_messages SET token = ?, due = 9e999, leased_at = ?, leased_until = ? WHERE seq = ?;

-- name: begin_work
UPDATE umbel_messages SET begun = 1 WHERE seq = ? AND token = ?;

-- name: start
UPDATE umbel_messages SET redelivered = 2 WHERE seq = ? AND token = ?;

-- name: count_lent
SELECT count(*) FROM umbel_messages WHERE seq BETWEEN ? AND ? AND token = ?;

-- name: begin_all
UPDATE umbel_messages SET begun = 1 WHERE seq BETWEEN ? AND ? AND token = ?;

-- name: ack
DELETE FROM umbel_messages WHERE seq = ? AND token = ?;

-- name: give_back
UPDATE umbel_messages
SET
    due = ?,
    leased_at = NULL,
    leased_until = NULL,
    token = NULL,
    begun = 0,
    redelivered = 1,
    attempt = attempt + ?
WHERE seq = ? AND token = ?;

-- name: leave
-- Of a holder that ends: work is given back, what was begun is left to be noticed.
UPDATE umbel_messages
SET due = NULL, leased_at = NULL, leased_until = NULL, token = NULL, redelivered = 1
WHERE seq = ? AND token = ?;

-- name: unlend
-- For deliveries that nobody got to see.
UPDATE umbel_messages SET due = NULL, leased_at = NULL, leased_until = NULL, token = NULL
WHERE seq = ? AND token = ?;

-- name: extend
UPDATE umbel_messages SET leased_at = ?, leased_until = ? WHERE seq = ? AND token = ?;

-- name: extend_all
UPDATE umbel_messages SET leased_at = ?, leased_until = ?
WHERE leased_until IS NOT NULL AND token >= ? AND token < ?;

-- name: bury
INSERT INTO umbel_dead (queue, attempt, dropped_at, reason, message)
SELECT queue, attempt + 1, ?, ?, message FROM umbel_messages WHERE seq = ? AND token = ?;

-- name: limit_dead
DELETE FROM umbel_dead WHERE id <= (SELECT id FROM umbel_dead ORDER BY id DESC LIMIT 1 OFFSET ?);

-- name: expire_dead
DELETE FROM umbel_dead WHERE dropped_at < ?;

-- name: count_dead
SELECT count(*) FROM umbel_dead;

-- name: list_dead
SELECT d.id, q.name, d.attempt, d.dropped_at, d.reason, d.message
FROM umbel_dead AS d JOIN umbel_queues AS q ON q.id = d.queue
ORDER BY d.id DESC LIMIT ? OFFSET ?;

-- name: load_dead
SELECT d.id, q.name, d.attempt, d.dropped_at, d.reason, d.message
FROM umbel_dead AS d JOIN umbel_queues AS q ON q.id = d.queue
WHERE d.id = ?;

-- name: drop_dead
DELETE FROM umbel_dead WHERE id = ?;

-- name: purge_ready
DELETE FROM umbel_messages WHERE queue = ? AND due IS NULL;

-- name: purge_delayed
DELETE FROM umbel_messages
WHERE due IS NOT NULL AND leased_until IS NULL AND queue = ? AND (token IS NULL OR due <= ?);

-- name: purge_abandoned
DELETE FROM umbel_messages WHERE leased_until <= ? AND queue = ?;

-- name: count_ready
SELECT count(*) FROM umbel_messages WHERE queue = ? AND due IS NULL;

-- name: count_delayed
-- Delayed, no longer so without having been moved, and on loan by an older release.
SELECT
    coalesce(sum(due > :now AND token IS NULL), 0),
    coalesce(sum(due <= :now), 0),
    coalesce(sum(due > :now AND token IS NOT NULL), 0)
FROM umbel_messages WHERE due IS NOT NULL AND leased_until IS NULL AND queue = :queue;

-- name: count_leased
-- On loan, and no longer so without having been moved.
SELECT coalesce(sum(leased_until > :uptime), 0), coalesce(sum(leased_until <= :uptime), 0)
FROM umbel_messages WHERE leased_until IS NOT NULL AND queue = :queue;

-- ------------------------------------------------------------------------------ results

-- name: last_change
SELECT value FROM umbel_meta WHERE key = 'change';

-- name: set_last_change
INSERT INTO umbel_meta (key, value) VALUES ('change', ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: store
-- A record gives way to one that is as final as it is, or more; or once it has expired.
INSERT INTO umbel_results
    (change, id, state, rank, expires_at, reply_to, correlation_id, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    change = excluded.change,
    state = excluded.state,
    rank = excluded.rank,
    expires_at = excluded.expires_at,
    reply_to = excluded.reply_to,
    correlation_id = excluded.correlation_id,
    body = excluded.body
WHERE excluded.rank <= umbel_results.rank OR umbel_results.expires_at <= ?;

-- name: load
SELECT change, id, state, expires_at, reply_to, correlation_id, body FROM umbel_results
WHERE id = ? AND (expires_at IS NULL OR expires_at > ?);

-- name: changed_since
SELECT change, id FROM umbel_results WHERE change > ?;

-- name: forget
DELETE FROM umbel_results WHERE id = ?;

-- name: prune_results
DELETE FROM umbel_results
WHERE change IN (SELECT change FROM umbel_results WHERE expires_at < ? LIMIT ?);

-- name: prune_groups
DELETE FROM umbel_groups
WHERE rowid IN (SELECT rowid FROM umbel_groups WHERE expires_at < ? LIMIT ?);

-- name: prune_members
DELETE FROM umbel_chord_members
WHERE chord IN (SELECT id FROM umbel_chords WHERE forget_at < ? ORDER BY forget_at LIMIT ?);

-- name: prune_added
DELETE FROM umbel_chord_added
WHERE chord IN (SELECT id FROM umbel_chords WHERE forget_at < ? ORDER BY forget_at LIMIT ?);

-- name: prune_claims
DELETE FROM umbel_claims
WHERE task IN (SELECT task FROM umbel_claims WHERE forget_at < ? ORDER BY forget_at LIMIT ?);

-- name: prune_chords
DELETE FROM umbel_chords
WHERE id IN (SELECT id FROM umbel_chords WHERE forget_at < ? ORDER BY forget_at LIMIT ?);

-- name: store_group
INSERT OR REPLACE INTO umbel_groups (id, expires_at, body) VALUES (?, ?, ?);

-- name: load_group
SELECT body, expires_at FROM umbel_groups
WHERE id = ? AND (expires_at IS NULL OR expires_at > ?);

-- name: forget_group
DELETE FROM umbel_groups WHERE id = ?;

-- name: begin_chord
INSERT OR IGNORE INTO umbel_chords (id, forget_at) VALUES (?, ?);

-- name: expect_chord
INSERT INTO umbel_chords (id, size, body, forget_at) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    size = iif(excluded.size > 0, excluded.size, size),
    body = ifnull(excluded.body, body),
    forget_at = max(forget_at, excluded.forget_at)
WHERE NOT sealed;

-- name: say_size
UPDATE umbel_chords SET size = ? WHERE id = ? AND size = 0;

-- name: add_to_chord
INSERT OR IGNORE INTO umbel_chord_added (chord, task) VALUES (?, ?);

-- name: chord
SELECT size, arrived, (SELECT count(*) FROM umbel_chord_added WHERE chord = id), sealed, body
FROM umbel_chords WHERE id = ?;

-- name: add_member
INSERT OR IGNORE INTO umbel_chord_members (chord, place, task, record) VALUES (?, ?, ?, ?);

-- name: count_member
UPDATE umbel_chords SET arrived = arrived + 1, forget_at = max(forget_at, ?) WHERE id = ?;

-- name: members
SELECT record FROM umbel_chord_members WHERE chord = ? ORDER BY place, task;

-- name: seal_chord
INSERT INTO umbel_chords (id, sealed, forget_at) VALUES (?, 1, ?)
ON CONFLICT (id) DO UPDATE SET sealed = 1, body = NULL, forget_at = excluded.forget_at;

-- name: remove_added
DELETE FROM umbel_chord_added WHERE chord = ?;

-- name: claim
INSERT OR IGNORE INTO umbel_claims (task, publication, forget_at) VALUES (?, ?, ?);

-- name: claimed
SELECT publication FROM umbel_claims WHERE task = ?;

-- name: remove_members
DELETE FROM umbel_chord_members WHERE chord = ?;

-- ------------------------------------------------------------------------------ revocations

-- name: revoke
INSERT OR REPLACE INTO umbel_revocations (task, header, value) VALUES (?, ?, ?);

-- name: limit_revocations
DELETE FROM umbel_revocations WHERE number NOT IN (
    SELECT number FROM umbel_revocations ORDER BY number DESC LIMIT ?
);

-- name: revocations_since
SELECT number, task, header, value FROM umbel_revocations WHERE number > ? ORDER BY number;

-- ------------------------------------------------------------------------------ broadcasts

-- name: add_ear
INSERT OR REPLACE INTO umbel_ears (listener, exchange, type, routing_key, alive_until)
VALUES (?, ?, ?, ?, ?);

-- name: remove_ears
-- Ours, and those of others who are gone: nobody's end is further away than one may be believed.
DELETE FROM umbel_ears WHERE listener = ? OR NOT alive_until BETWEEN ? AND ?;

-- name: ears
SELECT listener, exchange, type, routing_key FROM umbel_ears
WHERE exchange = ? AND alive_until BETWEEN ? AND ?;

-- name: add_broadcast
INSERT INTO umbel_broadcasts (exchange, drop_at, message) VALUES (?, ?, ?);

-- name: prune_broadcasts
DELETE FROM umbel_broadcasts WHERE NOT drop_at BETWEEN ? AND ?;

-- name: last_broadcast
-- Also of those that are gone: a smaller number than before is another database's.
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'umbel_broadcasts'), 0);

-- name: broadcasts
SELECT id, exchange, message FROM umbel_broadcasts WHERE id > ? ORDER BY id LIMIT 1000;

-- -------------------------------------------------------------------------------- schedule

-- name: leader
SELECT owner, term, led_at, led_until, version FROM umbel_schedule_leader;

-- name: add_leader
INSERT OR IGNORE INTO umbel_schedule_leader (id, owner, term, led_at, led_until, version)
VALUES (1, '', 0, 0, 0, 0);

-- name: lead
UPDATE umbel_schedule_leader SET owner = ?, term = ?, led_at = ?, led_until = ?;

-- name: resign
UPDATE umbel_schedule_leader SET led_until = 0 WHERE owner = ?;

-- name: schedule_changed
UPDATE umbel_schedule_leader SET version = version + 1;

-- name: schedule
SELECT name, entry, since, paused, asked, count, last_run, task_id, unsent FROM umbel_schedule
ORDER BY name;

-- name: schedule_entry
SELECT name, entry, since, paused, asked, count, last_run, task_id, unsent FROM umbel_schedule
WHERE name = ?;

-- name: put_schedule
INSERT INTO umbel_schedule (name, entry, since, paused) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET entry = excluded.entry;

-- name: remove_schedule
DELETE FROM umbel_schedule WHERE name = ?;

-- name: pause_schedule
UPDATE umbel_schedule SET paused = ? WHERE name = ?;

-- name: ask_schedule
UPDATE umbel_schedule SET asked = 1 WHERE name = ?;

-- name: take_step
UPDATE umbel_schedule SET since = ? WHERE name = ? AND since = ?;

-- name: take_step_with_task
UPDATE umbel_schedule
SET since = ?, count = count + 1, last_run = ?, task_id = ?, unsent = ?
WHERE name = ? AND since = ?;

-- name: take_asked_step
UPDATE umbel_schedule
SET asked = 0, count = count + 1, last_run = ?, task_id = ?, unsent = ?
WHERE name = ? AND since = ? AND asked = 1;

-- name: schedule_sent
UPDATE umbel_schedule SET unsent = 0 WHERE name = ?;
