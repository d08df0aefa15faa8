-- Every statement of the store, by name. ROWS(n) stands for as many rows of n parameters as there are records: each
-- step of a statement gives up Python's lock and must get it back, which a busy loop makes dear, so many rows share a step.

-- ===== meta =====

-- name: create_meta
-- The one row, written when the database is created.
INSERT OR IGNORE INTO meta (one, incarnation) VALUES (1, ?);

-- name: raise_epoch
-- Whoever opens the database takes it over.
UPDATE meta SET epoch = epoch + 1 WHERE one = 1;

-- name: opened
-- What the opener has to know.
SELECT incarnation, epoch, last_event, last_at FROM meta WHERE one = 1;

-- name: advance
-- First statement of each commit: it finds no row when the epoch is stale. (epoch, event, at, segment, bytes, records)
UPDATE meta SET last_event = max(last_event, ?2), last_at = max(last_at, ?3), last_segment = max(last_segment, ?4),
    output_bytes = output_bytes + ?5, last_told = last_told + ?6
WHERE one = 1 AND epoch = ?1 RETURNING last_told - ?6;

-- name: serials
-- The highest (job, attempt, node) ever given out.
SELECT
    max(last_job, coalesce((SELECT max(job) FROM jobs), 0), coalesce((SELECT max(job) FROM orphans), 0)),
    max(last_attempt, coalesce((SELECT max(attempt) FROM attempts), 0)),
    max(coalesce((SELECT max(node) FROM nodes), 0), coalesce((SELECT max(node) FROM instances), 0))
FROM meta WHERE one = 1;

-- name: last_segment
-- The highest output segment ever written.
SELECT last_segment FROM meta WHERE one = 1;

-- name: output_bytes
-- Bytes of output of all jobs that are kept.
SELECT output_bytes FROM meta WHERE one = 1;

-- name: mark_copy
-- A copy has no incarnation until it is opened for the first time, so that each restore of it is one of its own.
UPDATE meta SET incarnation = '', epoch = epoch + 1 WHERE one = 1;

-- name: renew
-- A restored copy is another incarnation, so that fences of the original never match.
UPDATE meta SET incarnation = ? WHERE one = 1 AND incarnation = '';

-- ===== writing records =====

-- name: stage_task
-- (place, spec, needs)
INSERT INTO tasks (place, spec, needs) VALUES ROWS(3);

-- name: stage_job
-- A job with tasks and no acceptance yet.
INSERT OR IGNORE INTO orphans (job) VALUES ROWS(1);

-- name: unstage_job
-- It will never be accepted; its tasks are swept later.
INSERT OR REPLACE INTO orphans (job, dropped) VALUES (?, 1);

-- name: adopt_job
-- An accepted job is no orphan.
DELETE FROM orphans WHERE job IN (VALUES ROWS(1));

-- name: accept_job
-- A JobAccepted.
INSERT INTO jobs (job, id, tail, name, spec, tasks, elements, accepted_at, key, digest)
VALUES ROWS(10);

-- name: keep_key
-- The first job that came with a key keeps it.
INSERT OR IGNORE INTO keys (key, job) VALUES ROWS(2);

-- name: cancel_job
-- The fields of JobCancelling.
UPDATE jobs SET state = 'CANCELLING', cancelling_at = r.column2, cancel_reason = r.column3
FROM (VALUES ROWS(3)) AS r WHERE job = r.column1;

-- name: revive_job
-- The fields of JobRevived.
UPDATE jobs SET state = 'RUNNING', revived_at = ?2, cancelling_at = 0, cancel_reason = '', ended_at = 0, code = 0,
    counts = x'90', reason = ''
WHERE job = ?1;

-- name: end_job
-- (job, state, at, code, counts, reason)
UPDATE jobs SET state = r.column2, ended_at = r.column3, code = r.column4, counts = r.column5, reason = r.column6
FROM (VALUES ROWS(6)) AS r WHERE job = r.column1;

-- name: assign
-- The fields of AttemptAssigned.
INSERT INTO attempts (attempt, job, task, idx, number, node, assigned_at, choice) VALUES ROWS(8);

-- name: start
-- The fields of AttemptStarted.
UPDATE attempts SET started_at = r.column2 FROM (VALUES ROWS(2)) AS r WHERE attempt = r.column1;

-- name: cancel
-- The fields of AttemptCancelling.
UPDATE attempts SET cancelling_at = r.column2, cancel_reason = r.column3
FROM (VALUES ROWS(3)) AS r WHERE attempt = r.column1;

-- name: finish
-- The fields of AttemptEnded, and its number; job, task and index (columns 2 to 4) stand in the row already.
UPDATE attempts SET outcome = r.column5, code = r.column6, state = r.column7, ended_at = r.column8,
    started_at = r.column9, due = r.column10, spent = r.column11, reason = r.column12, result = r.column13,
    stdout = r.column14, stderr = r.column15, told = r.column16
FROM (VALUES ROWS(16)) AS r WHERE attempt = r.column1;

-- name: add_span
-- (told, job, task, first, count, state, at, after, reason)
INSERT INTO spans (told, job, task, first, count, state, at, after, reason) VALUES ROWS(9);

-- name: link_node
-- A NodeLinked; whatever happened to the node before no longer holds.
INSERT OR REPLACE INTO nodes (node, agent, name, host, boot, version, capacity, labels, linked_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: suspect_node
-- The fields of NodeSuspected.
UPDATE nodes SET suspected_at = ?2 WHERE node = ?1;

-- name: lose_node
-- The fields of NodeLost.
UPDATE nodes SET lost_at = ?2 WHERE node = ?1;

-- name: shift_node
-- The fields of NodeShifted.
UPDATE nodes SET state = ?2, shifted_at = ?3 WHERE node = ?1;

-- name: intend_instance
-- (node, token, offer, job, at, lifetime)
INSERT INTO instances (node, token, offer, job, intended_at, lifetime) VALUES (?, ?, ?, ?, ?, ?);

-- name: bind_instance
-- The fields of InstanceBound.
UPDATE instances SET ref = ?2, bound_at = ?3, charged_at = ?3 WHERE node = ?1;

-- name: shift_instance
-- A node that is RELEASING or GONE from now on. (node, state, at, reason)
UPDATE instances SET state = ?2, shifted_at = ?3, reason = CASE ?4 WHEN '' THEN reason ELSE ?4 END WHERE node = ?1;

-- name: charged_until
-- (node, at)
UPDATE instances SET charged_at = ?2 WHERE node = ?1;

-- name: add_cost
-- (job, node, micros)
INSERT INTO costs (job, node, micros) VALUES (?1, ?2, ?3) ON CONFLICT (job, node) DO UPDATE SET micros = micros + ?3;

-- name: keep_refusal
-- (scope, node, job, offer, kind, detail, until, at)
INSERT OR REPLACE INTO refusals (scope, node, job, offer, kind, detail, until, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_events
-- (last, first, at, payload)
INSERT INTO events (last, first, at, payload) VALUES (?, ?, ?, ?);

-- name: add_output
-- The fields of OutputRow; a piece sent again replaces itself.
INSERT OR REPLACE INTO outputs (attempt, stream, offset, length, segment, position) VALUES ROWS(6);

-- name: set_mark
-- The fields of ReportMark; only the latest session of an agent matters.
INSERT OR REPLACE INTO marks (agent, session, number) VALUES ROWS(3);

-- ===== jobs =====

-- name: job
-- One job by serial.
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE job = ?;

-- name: job_by_id
-- One job by its id.
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE id = ?;

-- name: job_by_key
-- One job by its Idempotency-Key.
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE job = (SELECT job FROM keys WHERE key = ?);

-- name: jobs
-- Newest first. (before, limit)
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE job < ?1 ORDER BY job DESC LIMIT ?2;

-- name: jobs_named
-- Newest first. (before, limit, name)
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE job < ?1 AND name = ?3 ORDER BY job DESC LIMIT ?2;

-- name: jobs_live
-- Those that have not ended, newest first. (before, limit)
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE job < ?1 AND state IN ('RUNNING', 'CANCELLING') ORDER BY job DESC LIMIT ?2;

-- name: jobs_live_named
-- Those of a name that have not ended, newest first. (before, limit, name)
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE job < ?1 AND state IN ('RUNNING', 'CANCELLING') AND name = ?3 ORDER BY job DESC LIMIT ?2;

-- name: jobs_in_state
-- Newest first. (before, limit, name ignored, state)
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE job < ?1 AND state = ?4 ORDER BY job DESC LIMIT ?2;

-- name: jobs_in_state_named
-- Newest first. (before, limit, name, state)
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE job < ?1 AND state = ?4 AND name = ?3 ORDER BY job DESC LIMIT ?2;

-- name: find_jobs
-- Ids that begin with the digits (first, last id of that range), or end with them (the same of the tails). Ids begin
-- with the time, so their order is the order of age.
SELECT id FROM (
    SELECT * FROM (SELECT job, id FROM jobs WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT ?5)
    UNION
    SELECT * FROM (SELECT job, id FROM jobs WHERE tail BETWEEN ?3 AND ?4 ORDER BY job DESC LIMIT ?5)
) ORDER BY job DESC LIMIT ?5;

-- name: live_jobs
-- What a start has to rebuild, oldest first.
SELECT job, id, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest, cancelling_at,
    cancel_reason, revived_at
FROM jobs WHERE state IN ('RUNNING', 'CANCELLING') ORDER BY job;

-- name: newest_jobs
-- Jobs up to a serial, newest first, with what their tasks' rows need. (highest, limit)
SELECT job, id, accepted_at, state FROM jobs WHERE job <= ?1 ORDER BY job DESC LIMIT ?2;

-- ===== tasks, attempts, spans =====

-- name: tasks
-- Tasks by place. (first, last, limit)
SELECT place, spec, needs FROM tasks WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT ?3;

-- name: ended_counts
-- How often each task's attempts ended its elements in each state; exact where no element ran again by hand.
-- (job, first task, last task)
SELECT task, state, count(*) FROM attempts WHERE job = ?1 AND task BETWEEN ?2 AND ?3 AND state >= 6 GROUP BY task, state;

-- name: spanned_tasks
-- Which tasks have spans. (job, first task, last task)
SELECT DISTINCT task FROM spans WHERE job = ?1 AND task BETWEEN ?2 AND ?3;

-- name: fates
-- The last attempt of each element of a task, and all of its spans. (job, task)
SELECT max(told), idx, 1, state FROM attempts WHERE job = ?1 AND task = ?2 AND state IS NOT NULL GROUP BY idx
UNION ALL
SELECT told, first, count, state FROM spans WHERE job = ?1 AND task = ?2;

-- name: attempts
-- By element. (job, task, first, last)
SELECT attempt, job, task, idx, number, node, assigned_at, started_at, ended_at, outcome, code, state, reason, result,
    stdout, stderr
FROM attempts WHERE job = ?1 AND task = ?2 AND idx BETWEEN ?3 AND ?4 ORDER BY idx, attempt;

-- name: attempt
-- One attempt by serial.
SELECT attempt, job, task, idx, number, node, assigned_at, started_at, ended_at, outcome, code, state, reason, result,
    stdout, stderr
FROM attempts WHERE attempt = ?;

-- name: attempts_of_job
-- In the order of a rebuild; those under way come first.
SELECT attempt, job, task, idx, number, node, assigned_at, started_at, cancelling_at, cancel_reason, ended_at, outcome,
    code, state, due, spent, reason, result, stdout, stderr, told, choice
FROM attempts WHERE job = ? ORDER BY told, attempt;

-- name: spans_of_job
-- In the order of a rebuild.
SELECT told, task, first, count, state, at, after, reason FROM spans WHERE job = ? ORDER BY told, span;

-- name: spans_of_task
-- In the order they were told.
SELECT job, task, first, count, state, at, after, reason FROM spans WHERE job = ? AND task = ? ORDER BY span;

-- ===== nodes, events, outputs, marks, tokens =====

-- name: nodes
-- All nodes, by serial.
SELECT node, agent, name, host, boot, version, capacity, labels, linked_at, suspected_at, lost_at, state, shifted_at
FROM nodes ORDER BY node;

-- name: instances
-- Machines that are not gone, or have been for less than a day: one that comes back after all is known. With all of their costs.
SELECT node, token, offer, job, intended_at, ref, bound_at, charged_at, state, shifted_at, reason,
    coalesce((SELECT sum(micros) FROM costs WHERE costs.node = instances.node), 0), lifetime
FROM instances
WHERE state IS NOT 'GONE' OR shifted_at > (SELECT last_at FROM meta WHERE one = 1) - 86400000 ORDER BY node;

-- name: all_instances
-- The same of all that are kept, newest first. (limit)
SELECT node, token, offer, job, intended_at, ref, bound_at, charged_at, state, shifted_at, reason,
    coalesce((SELECT sum(micros) FROM costs WHERE costs.node = instances.node), 0), lifetime
FROM instances ORDER BY node DESC LIMIT ?;

-- name: refusals
-- (scope left out)
SELECT node, job, offer, kind, detail, until, at FROM refusals ORDER BY at, scope;

-- name: cost_of_job
-- What a job has cost in all.
SELECT coalesce(sum(micros), 0) FROM costs WHERE job = ?;

-- name: costs_of_job
-- By machine.
SELECT node, micros FROM costs WHERE job = ? ORDER BY node;

-- name: sweep_costs
-- With the job that they are of.
DELETE FROM costs WHERE job = ?;

-- name: events
-- (after, limit)
SELECT first, last, at, payload FROM events WHERE last > ?1 ORDER BY last LIMIT ?2;

-- name: outputs
-- The pieces of a stream that end behind an offset. (attempt, stream, offset, limit)
SELECT attempt, stream, offset, length, segment, position FROM outputs
WHERE attempt = ?1 AND stream = ?2 AND offset + length > ?3 AND offset >= coalesce(
    (SELECT max(offset) FROM outputs WHERE attempt = ?1 AND stream = ?2 AND offset <= ?3), 0)
ORDER BY offset LIMIT ?4;

-- name: marks
-- How far each agent's reports are dealt with.
SELECT agent, session, number FROM marks;

-- name: tokens
-- All access tokens, revoked ones included.
SELECT token, name, role, digest, created_at, expires_at, revoked_at, agent, pool, single, parent FROM tokens ORDER BY token;

-- name: add_token
-- (name, role, digest, created_at, expires_at, revoked_at, agent, pool, single, parent)
INSERT INTO tokens (name, role, digest, created_at, expires_at, revoked_at, agent, pool, single, parent)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: revoke_token
-- (token, at)
UPDATE tokens SET revoked_at = ?2 WHERE token = ?1 AND revoked_at = 0;

-- name: bind_token
-- To the first agent that uses it. (token, agent)
UPDATE tokens SET agent = ?2 WHERE token = ?1 AND agent = '';

-- name: bound_to
-- The agent that a token is bound to.
SELECT agent FROM tokens WHERE token = ?;

-- name: enrol
-- The first key that comes with an agent's id counts. (agent, key)
INSERT OR IGNORE INTO enrolments (agent, key) VALUES (?, ?);

-- name: enrolled_key
-- The key that counts for an agent.
SELECT key FROM enrolments WHERE agent = ?;

-- name: forget_enrolment
-- Whatever key comes next with this agent's id counts.
DELETE FROM enrolments WHERE agent = ?;

-- name: drop_credentials
-- Those that ended by themselves before a time; a revoked one keeps its agent out, and stays.
DELETE FROM tokens WHERE parent != 0 AND revoked_at = 0 AND expires_at < ?;

-- name: add_secrets
-- The fields of SecretsRow.
INSERT INTO secrets (job, sealed) VALUES ROWS(2);

-- name: secrets
-- What a job's secrets are sealed into.
SELECT sealed FROM secrets WHERE job = ?;

-- ===== retention =====

-- name: forsake_staged
-- At a start nobody is submitting: what was staged will never be accepted.
UPDATE orphans SET dropped = 1 WHERE dropped = 0;

-- name: dropped_jobs
-- What is to be swept.
SELECT job FROM orphans WHERE dropped = 1 ORDER BY job;

-- name: oldest_ended
-- The job that ended first.
SELECT job, ended_at FROM jobs WHERE state NOT IN ('RUNNING', 'CANCELLING') ORDER BY ended_at, job LIMIT 1;

-- name: drop_job
-- Takes a job out of sight, if it has ended.
DELETE FROM jobs WHERE job = ? AND state NOT IN ('RUNNING', 'CANCELLING');

-- name: drop_secrets
-- Nobody can run it again.
DELETE FROM secrets WHERE job = ?;

-- name: drop_key
-- Its Idempotency-Key may be used again.
DELETE FROM keys WHERE job = ?1 AND key = (SELECT key FROM jobs WHERE job = ?1);

-- name: swept_segments
-- What the outputs of the next attempts to sweep take up. (job, limit)
SELECT segment, sum(length) FROM outputs
WHERE attempt IN (SELECT attempt FROM attempts WHERE job = ?1 ORDER BY task, idx, attempt LIMIT ?2) GROUP BY segment;

-- name: sweep_outputs
-- (job, limit)
DELETE FROM outputs
WHERE attempt IN (SELECT attempt FROM attempts WHERE job = ?1 ORDER BY task, idx, attempt LIMIT ?2);

-- name: remember_serials
-- Before their rows go. (job, limit, bytes)
UPDATE meta SET last_job = max(last_job, ?1), output_bytes = max(0, output_bytes - ?3),
    last_attempt = max(last_attempt, coalesce((SELECT max(attempt) FROM
        (SELECT attempt FROM attempts WHERE job = ?1 ORDER BY task, idx, attempt LIMIT ?2)), 0))
WHERE one = 1;

-- name: sweep_attempts
-- (job, limit)
DELETE FROM attempts
WHERE attempt IN (SELECT attempt FROM attempts WHERE job = ?1 ORDER BY task, idx, attempt LIMIT ?2);

-- name: sweep_spans
-- (job, limit)
DELETE FROM spans WHERE span IN (SELECT span FROM spans WHERE job = ?1 LIMIT ?2);

-- name: sweep_tasks
-- (first place, last place, limit)
DELETE FROM tasks WHERE place IN (SELECT place FROM tasks WHERE place BETWEEN ?1 AND ?2 LIMIT ?3);

-- name: segment_in_use
-- Whether any output lies in a segment.
SELECT EXISTS (SELECT 1 FROM outputs WHERE segment = ?);

-- name: oldest_events
-- (limit)
SELECT last, at FROM events ORDER BY last LIMIT ?;

-- name: trim_events
-- Up to and with a sequence.
DELETE FROM events WHERE last <= ?;
