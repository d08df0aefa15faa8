-- Secrets, and agents that are let in by a token of their own.

-- The values of a job's secrets, encrypted with a key that is not in the database; one row for each job that has any.
CREATE TABLE secrets (
    job    INTEGER PRIMARY KEY,
    sealed BLOB NOT NULL
);

-- `agent`: the one agent that may use the token, once it has. `pool`: what nodes that came by it are labelled with. `single`: it lets
-- in one agent only. `parent`: the join token that this credential came of.
ALTER TABLE tokens ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN pool TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN single INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN parent INTEGER NOT NULL DEFAULT 0;

-- Agents that joined: the SHA-256 of the key that each drew for itself, by which it is known when it joins again.
CREATE TABLE enrolments (
    agent TEXT PRIMARY KEY,
    key   BLOB NOT NULL
) WITHOUT ROWID;
