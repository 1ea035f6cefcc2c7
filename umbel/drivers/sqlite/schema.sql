-- What an umbel database holds. Every name begins with umbel_, so that the tables can live in a
-- file that has others. Moments are Unix seconds, but for those by which processes tell whether others
-- live: they are seconds of the machine (protocols.Clock.uptime), which nobody sets. After it has
-- been started anew, what such a moment says lies in the future, or is over: nothing outlives that
-- for longer than it would have lasted. Version 5. Each statement may be run again: what
-- an older file has not yet is made, the rest is left alone.

-- One row per fact about the database itself: its schema's version, the last change number.
CREATE TABLE IF NOT EXISTS umbel_meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);

-- Queues, once somebody declared or used them. definition is the declared model.Queue (msgpack),
-- NULL when it was only used. expired counts what was dropped unreceived.
CREATE TABLE IF NOT EXISTS umbel_queues (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    definition BLOB,
    message_ttl REAL,
    expired INTEGER NOT NULL DEFAULT 0
);

-- Ways from exchanges into queues. arguments is JSON.
CREATE TABLE IF NOT EXISTS umbel_bindings (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    type TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    queue TEXT NOT NULL,
    arguments TEXT NOT NULL,
    UNIQUE (exchange, type, routing_key, queue, arguments)
);

-- Messages, in the order they came (seq). due: NULL while ready, else when a delayed message comes
-- into the queue; never while it is on loan. token: who has it, NULL for nobody. leased_at,
-- leased_until: since when and how long they have it for sure (uptime). Leases of release 4 have
-- neither, and run out when they are due.
-- rank: the negative priority, so that the first is the smallest. attempt: how often a holder died,
-- as model.Delivery counts it. redelivered: 1 when it was handed out before, 2 when it has been
-- started since it came back. begun: whether it must not run again. message is model.Message
-- (msgpack).
CREATE TABLE IF NOT EXISTS umbel_messages (
    seq INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    due REAL,
    token INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    drop_at REAL,
    message BLOB NOT NULL,
    begun INTEGER NOT NULL DEFAULT 0,
    redelivered INTEGER NOT NULL DEFAULT 0,
    leased_at REAL,
    leased_until REAL
);

-- What can be handed out now, in order.
CREATE INDEX IF NOT EXISTS umbel_messages_ready ON umbel_messages (queue, rank, seq) WHERE due IS NULL;

-- What comes later, soonest first.
CREATE INDEX IF NOT EXISTS umbel_messages_delayed ON umbel_messages (due) WHERE due IS NOT NULL AND leased_until IS NULL;

-- What comes back unless its lease is extended, soonest first.
CREATE INDEX IF NOT EXISTS umbel_messages_leased ON umbel_messages (leased_until) WHERE leased_until IS NOT NULL;

-- What is dropped when nobody takes it in time.
CREATE INDEX IF NOT EXISTS umbel_messages_drop ON umbel_messages (drop_at) WHERE drop_at IS NOT NULL;

-- Messages that were given up, the latest of them, for people to look at.
CREATE TABLE IF NOT EXISTS umbel_dead (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    dropped_at REAL NOT NULL,
    reason TEXT,
    message BLOB NOT NULL
);

-- Results. change rises with every write, so that a watcher finds what is new by it; rank is how
-- final the state is (states.finality), the lower the more. body is the task's document.
CREATE TABLE IF NOT EXISTS umbel_results (
    change INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    rank INTEGER NOT NULL,
    expires_at REAL,
    reply_to TEXT,
    correlation_id TEXT,
    body BLOB NOT NULL
);

CREATE INDEX IF NOT EXISTS umbel_results_expiry ON umbel_results (expires_at) WHERE expires_at IS NOT NULL;

-- The members of groups, in order, as body says.
CREATE TABLE IF NOT EXISTS umbel_groups (
    id TEXT PRIMARY KEY,
    expires_at REAL,
    body BLOB NOT NULL
);

CREATE INDEX IF NOT EXISTS umbel_groups_expiry ON umbel_groups (expires_at) WHERE expires_at IS NOT NULL;

-- Chords: how many members there are (0: nobody has said) and have arrived; what to run then, where
-- it was said before the first was sent. One that is sealed is kept until forget_at, so that a
-- repeated arrival does not begin it anew.
CREATE TABLE IF NOT EXISTS umbel_chords (
    id TEXT PRIMARY KEY,
    size INTEGER NOT NULL DEFAULT 0,
    arrived INTEGER NOT NULL DEFAULT 0,
    sealed INTEGER NOT NULL DEFAULT 0,
    forget_at REAL NOT NULL,
    body BLOB
);

CREATE INDEX IF NOT EXISTS umbel_chords_forget ON umbel_chords (forget_at);

-- What arrived of chords that are not sealed. record is model.ResultRecord (msgpack).
CREATE TABLE IF NOT EXISTS umbel_chord_members (
    chord TEXT NOT NULL,
    place INTEGER NOT NULL,
    task TEXT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (chord, place, task)
);

-- Members beside those that size counts.
CREATE TABLE IF NOT EXISTS umbel_chord_added (
    chord TEXT NOT NULL,
    task TEXT NOT NULL,
    PRIMARY KEY (chord, task)
);

-- Which publication of a task runs, where it may have been published more than once.
CREATE TABLE IF NOT EXISTS umbel_claims (
    task TEXT PRIMARY KEY,
    publication TEXT NOT NULL,
    forget_at REAL NOT NULL
);

CREATE INDEX IF NOT EXISTS umbel_claims_forget ON umbel_claims (forget_at);

-- Who waits for news, and of what (messages, results, broadcasts): names of pipes in the folder
-- beside the database. Rows of processes that are gone are removed by whoever finds them.
CREATE TABLE IF NOT EXISTS umbel_listeners (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL
);

-- What is not to be run: task ids, or values of stamped headers. The latest have the highest
-- numbers.
CREATE TABLE IF NOT EXISTS umbel_revocations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    header TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (task, header, value)
);

-- Traffic beside the tasks, for as long as a listener may be late (uptime). AUTOINCREMENT: a number is
-- never used twice, so that listeners know how far they have read. message is model.Message
-- (msgpack).
CREATE TABLE IF NOT EXISTS umbel_broadcasts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    exchange TEXT NOT NULL,
    drop_at REAL NOT NULL,
    message BLOB NOT NULL
);

-- Who listens to what; believed until alive_until (uptime), which listeners put off.
CREATE TABLE IF NOT EXISTS umbel_ears (
    listener TEXT NOT NULL,
    exchange TEXT NOT NULL,
    type TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    alive_until REAL NOT NULL,
    PRIMARY KEY (listener, exchange, type, routing_key)
);

-- What runs when (model.ScheduleRecord), and how far each entry has come.
CREATE TABLE IF NOT EXISTS umbel_schedule (
    name TEXT PRIMARY KEY,
    entry BLOB NOT NULL,
    since REAL NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    asked INTEGER NOT NULL DEFAULT 0,
    count INTEGER NOT NULL DEFAULT 0,
    last_run REAL,
    task_id TEXT,
    unsent INTEGER NOT NULL DEFAULT 0
);

-- Which scheduler leads, since when for sure and until when (uptime), and how often the schedule
-- was changed. One row.
CREATE TABLE IF NOT EXISTS umbel_schedule_leader (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    owner TEXT NOT NULL,
    term INTEGER NOT NULL,
    led_at REAL NOT NULL,
    led_until REAL NOT NULL,
    version INTEGER NOT NULL
);
