-- What became of the scheduler's jobs, and streams that never began.

CREATE TABLE core.job_runs (
    job text PRIMARY KEY CHECK (octet_length(job) BETWEEN 1 AND 63),
    every_seconds numeric(12, 3) NOT NULL CHECK (every_seconds > 0),
    process text NOT NULL CHECK (octet_length(process) BETWEEN 1 AND 255),
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('done', 'failed', 'timeout')),
    items bigint,
    seconds numeric(12, 3) NOT NULL CHECK (seconds >= 0),
    lag_seconds numeric(15, 3) CHECK (lag_seconds >= 0),
    failures_in_a_row integer NOT NULL DEFAULT 0 CHECK (failures_in_a_row >= 0),
    last_error text CHECK (octet_length(last_error) BETWEEN 1 AND 255),
    last_success_at timestamptz,
    next_run_at timestamptz NOT NULL,
    first_run_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT job_runs_order CHECK (started_at <= finished_at),
    CONSTRAINT job_runs_failures CHECK ((outcome = 'done') = (failures_in_a_row = 0)),
    CONSTRAINT job_runs_items CHECK ((outcome = 'done') = (items IS NOT NULL))
)
-- rewritten at every run: no index but its key, and room for it
WITH (fillfactor = 20);
COMMENT ON TABLE core.job_runs IS 'How the newest run of each job of the scheduler ended, whichever process ran it. Written by the schedulers after each run, outside of the job''s own transactions.';
COMMENT ON COLUMN core.job_runs.every_seconds IS 'The job''s interval when it does not fail.';
COMMENT ON COLUMN core.job_runs.process IS 'Host and process id of the scheduler that ran it last.';
COMMENT ON COLUMN core.job_runs.items IS 'Things that the newest run has done; NULL where it failed.';
COMMENT ON COLUMN core.job_runs.seconds IS 'How long the newest run took.';
COMMENT ON COLUMN core.job_runs.lag_seconds IS 'Age of the oldest thing that was due and not done when the newest successful run ended; NULL where the job does not tell.';
COMMENT ON COLUMN core.job_runs.failures_in_a_row IS 'Runs since the last that succeeded, of all schedulers.';
COMMENT ON COLUMN core.job_runs.last_error IS 'Class of the newest failure, with its SQLSTATE and slug; no message, for it may tell secrets. Kept after a success.';
COMMENT ON COLUMN core.job_runs.next_run_at IS 'When the process that ran it last means to run it again.';
COMMENT ON COLUMN core.job_runs.first_run_at IS 'When it was first written down here.';

CREATE VIEW api.job_runs AS
SELECT
    r.job,
    r.outcome,
    r.started_at,
    r.finished_at,
    r.seconds,
    r.items,
    r.lag_seconds,
    r.failures_in_a_row,
    r.last_error,
    r.last_success_at,
    clock_timestamp() - coalesce(r.last_success_at, r.first_run_at)
    > (greatest(3 * r.every_seconds, 60) + r.seconds) * interval '1 second' AS late,
    r.next_run_at,
    r.every_seconds,
    r.process,
    r.first_run_at
FROM core.job_runs AS r;
COMMENT ON VIEW api.job_runs IS 'The newest run of each job of the scheduler. late: it has not succeeded for three of its intervals, or a minute where that is longer, and the time its newest run took.';

GRANT SELECT, INSERT, UPDATE, DELETE ON core.job_runs TO tessera_scheduler;
GRANT SELECT ON core.job_runs TO tessera_app, tessera_dba;

-- Streams that never began

ALTER TABLE core.streams ADD COLUMN cancel_refused_at timestamptz;
COMMENT ON COLUMN core.streams.cancel_refused_at IS 'When api.cancel_no_shows last could not give its tickets back.';
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX streams_no_show_idx ON core.streams (coalesce(cancel_refused_at, starts_at), id)
WHERE status = 'scheduled' AND starts_at IS NOT NULL;
GRANT UPDATE (cancel_refused_at) ON core.streams TO tessera_ledger;

INSERT INTO core.rate_names (name, unit, scoped, meaning)
VALUES ('stream_no_show', 'seconds', NULL, 'How long after starts_at a scheduled stream that never went live is cancelled.');
INSERT INTO core.rates (name, value, unit, valid_from, note)
VALUES ('stream_no_show', 86400, 'seconds', '-infinity', 'How long after starts_at a scheduled stream that never went live is cancelled.');

CREATE TYPE api.no_show AS (stream_id uuid, creator_id uuid, tickets bigint, error_code text, error text, detail jsonb);
COMMENT ON TYPE api.no_show IS 'A stream that never began: how many tickets were given back; or error_code (TSnnn), its slug in error, and facts in detail, and nothing changed.';
