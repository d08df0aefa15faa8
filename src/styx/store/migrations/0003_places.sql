-- Machines that providers bring up, what they cost, and what was refused.

-- Which alternative of its task an attempt came to its node by.
ALTER TABLE attempts ADD COLUMN choice INTEGER NOT NULL DEFAULT 0;

-- One row for each intent, from before the cloud is asked. `state` is null until it is RELEASING or GONE; what its agent says is in `nodes`.
CREATE TABLE instances (
    node        INTEGER PRIMARY KEY,
    token       TEXT    NOT NULL,
    offer       BLOB    NOT NULL,
    job         INTEGER NOT NULL,
    intended_at INTEGER NOT NULL,
    lifetime    INTEGER NOT NULL,
    ref         TEXT    NOT NULL DEFAULT '',
    bound_at    INTEGER NOT NULL DEFAULT 0,
    charged_at  INTEGER NOT NULL DEFAULT 0,
    state       TEXT,
    shifted_at  INTEGER NOT NULL DEFAULT 0,
    reason      TEXT    NOT NULL DEFAULT ''
);

-- Micros that a machine has cost a job, as far as it is charged.
CREATE TABLE costs (
    job    INTEGER NOT NULL,
    node   INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    PRIMARY KEY (job, node)
) WITHOUT ROWID;
CREATE INDEX costs_by_node ON costs (node);

-- The last answer of a kind about an offer, or all offers like it.
CREATE TABLE refusals (
    scope  TEXT PRIMARY KEY,
    node   INTEGER NOT NULL,
    job    INTEGER NOT NULL,
    offer  BLOB    NOT NULL,
    kind   TEXT    NOT NULL,
    detail TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    at     INTEGER NOT NULL
) WITHOUT ROWID;
