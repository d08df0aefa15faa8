-- The first tables. Times are milliseconds since the epoch, 0 where something has not happened. Records that follow from
-- others are not kept. Columns beyond those an INSERT names take their default, which costs a row one byte each.

-- One row: whose database this is and how far it has come. Each commit checks the epoch by writing here. `last_told` numbers
-- all records; what ended elements carries its number, so that a rebuild tells it in the order in which it happened.
CREATE TABLE meta (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    incarnation  TEXT    NOT NULL,
    epoch        INTEGER NOT NULL DEFAULT 0,
    last_event   INTEGER NOT NULL DEFAULT 0,
    last_at      INTEGER NOT NULL DEFAULT 0,
    last_segment INTEGER NOT NULL DEFAULT 0,
    output_bytes INTEGER NOT NULL DEFAULT 0,
    last_told    INTEGER NOT NULL DEFAULT 0,
    -- The highest serials among rows that have been deleted; a serial is never given out twice.
    last_job     INTEGER NOT NULL DEFAULT 0,
    last_attempt INTEGER NOT NULL DEFAULT 0
);

-- `tail` is the id with its 32 digits in reverse, so that the end of an id is found as quickly as its beginning.
CREATE TABLE jobs (
    job           INTEGER PRIMARY KEY,
    id            BLOB    NOT NULL,
    tail          BLOB    NOT NULL,
    name          TEXT    NOT NULL,
    spec          BLOB    NOT NULL,
    tasks         INTEGER NOT NULL,
    elements      INTEGER NOT NULL,
    accepted_at   INTEGER NOT NULL,
    key           TEXT    NOT NULL DEFAULT '',
    digest        BLOB    NOT NULL DEFAULT x'',
    state         TEXT    NOT NULL DEFAULT 'RUNNING',
    revived_at    INTEGER NOT NULL DEFAULT 0,
    cancelling_at INTEGER NOT NULL DEFAULT 0,
    cancel_reason TEXT    NOT NULL DEFAULT '',
    ended_at      INTEGER NOT NULL DEFAULT 0,
    code          INTEGER NOT NULL DEFAULT 0,
    counts        BLOB    NOT NULL DEFAULT x'90',
    reason        TEXT    NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX jobs_by_id ON jobs (id);
CREATE INDEX jobs_by_tail ON jobs (tail);
CREATE INDEX jobs_by_name ON jobs (name);
CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_by_end ON jobs (ended_at) WHERE state NOT IN ('RUNNING', 'CANCELLING');

-- An Idempotency-Key stands for the first job that came with it, for as long as that job is kept.
CREATE TABLE keys (
    key TEXT PRIMARY KEY,
    job INTEGER NOT NULL
) WITHOUT ROWID;

-- Jobs that have tasks or attempts here but no row in `jobs`: staged and not accepted yet, or dropped and not swept yet.
CREATE TABLE orphans (
    job     INTEGER PRIMARY KEY,
    dropped INTEGER NOT NULL DEFAULT 0
);

-- `place` is job << 24 | task: one tree serves as table and index, and a job's tasks lie together.
CREATE TABLE tasks (
    place INTEGER PRIMARY KEY,
    spec  BLOB NOT NULL,
    needs BLOB NOT NULL
);

-- One row for each attempt that was assigned. `state` is null while it is under way. The attempts of one element have
-- rising serials, so the one index beside the key also gives them in order.
CREATE TABLE attempts (
    attempt       INTEGER PRIMARY KEY,
    job           INTEGER NOT NULL,
    task          INTEGER NOT NULL,
    idx           INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    node          INTEGER NOT NULL,
    assigned_at   INTEGER NOT NULL,
    started_at    INTEGER NOT NULL DEFAULT 0,
    cancelling_at INTEGER NOT NULL DEFAULT 0,
    cancel_reason TEXT    NOT NULL DEFAULT '',
    ended_at      INTEGER NOT NULL DEFAULT 0,
    outcome       INTEGER,
    code          INTEGER NOT NULL DEFAULT 0,
    state         INTEGER,
    due           INTEGER NOT NULL DEFAULT 0,
    spent         INTEGER NOT NULL DEFAULT 0,
    reason        TEXT    NOT NULL DEFAULT '',
    result        BLOB    NOT NULL DEFAULT x'',
    stdout        INTEGER NOT NULL DEFAULT 0,
    stderr        INTEGER NOT NULL DEFAULT 0,
    told          INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX attempts_by_element ON attempts (job, task, idx);

-- Runs of elements that ended without an attempt, or (state 0) were set back to run again.
CREATE TABLE spans (
    span   INTEGER PRIMARY KEY,
    told   INTEGER NOT NULL,
    job    INTEGER NOT NULL,
    task   INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    state  INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    after  INTEGER NOT NULL,
    reason TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX spans_by_task ON spans (job, task);

CREATE TABLE nodes (
    node         INTEGER PRIMARY KEY,
    agent        TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    host         TEXT    NOT NULL,
    boot         TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    capacity     BLOB    NOT NULL,
    labels       BLOB    NOT NULL,
    linked_at    INTEGER NOT NULL,
    suspected_at INTEGER,
    lost_at      INTEGER,
    state        TEXT,
    shifted_at   INTEGER
);

-- The public form of what happened, one row a batch; `last` is the sequence of its last event.
CREATE TABLE events (
    last    INTEGER PRIMARY KEY,
    first   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    payload BLOB    NOT NULL
);

CREATE TABLE outputs (
    attempt  INTEGER NOT NULL,
    stream   INTEGER NOT NULL,
    offset   INTEGER NOT NULL,
    length   INTEGER NOT NULL,
    segment  INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (attempt, stream, offset)
) WITHOUT ROWID;
CREATE INDEX outputs_by_segment ON outputs (segment);

CREATE TABLE marks (
    agent   TEXT PRIMARY KEY,
    session TEXT    NOT NULL,
    number  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tokens (
    token      INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL DEFAULT 0
);
