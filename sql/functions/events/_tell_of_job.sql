-- _tell_of_job: operators hear of a job of the scheduler that fails, and when it does no more.
-- Locks    nothing
-- Decides  three failures in a row: what passes by itself is not told
-- Writes   outbox 'job.failed' and 'job.recovered'
-- Errors   none
CREATE OR REPLACE FUNCTION core._tell_of_job() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        CASE WHEN NEW.failures_in_a_row > 0 THEN 'job.failed' ELSE 'job.recovered' END, ARRAY['ops'],
        jsonb_build_object(
            'job', NEW.job, 'outcome', NEW.outcome, 'failures_in_a_row', greatest(NEW.failures_in_a_row, OLD.failures_in_a_row),
            'last_error', NEW.last_error, 'last_success_at', NEW.last_success_at, 'finished_at', NEW.finished_at
        )
    );
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._tell_of_job() IS 'Trigger: events job.failed at the third failure in a row of a job, job.recovered at the first success after that.';

CREATE OR REPLACE TRIGGER job_runs_tell AFTER UPDATE ON core.job_runs
FOR EACH ROW WHEN (
    NEW.failures_in_a_row = 3 AND OLD.failures_in_a_row = 2 OR NEW.failures_in_a_row = 0 AND OLD.failures_in_a_row >= 3
)
EXECUTE FUNCTION core._tell_of_job();
