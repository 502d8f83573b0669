-- _webhook_wait: how long after so many tries the next one is due.
-- Locks    nothing
-- Decides  by the schedule of Standard Webhooks
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._webhook_wait(p_tries integer) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT (
        '{00:00:00,00:00:05,00:05:00,00:30:00,02:00:00,05:00:00,10:00:00,14:00:00,20:00:00,24:00:00}'::interval []
    )[p_tries + 1]
$$;

COMMENT ON FUNCTION core._webhook_wait(integer) IS 'How long to wait after p_tries attempts before the next one, without jitter; NULL: there is no next one.';
