-- hold_lag: for how long the oldest hold that is past its time has been so.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.hold_lag() RETURNS interval
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    SELECT clock_timestamp() - h.expires_at
    FROM core.holds AS h
    WHERE h.status = 'open' AND h.expires_at <= clock_timestamp()
    ORDER BY h.expires_at
    LIMIT 1
$$;

COMMENT ON FUNCTION api.hold_lag() IS 'For how long the oldest open hold has been past its expires_at; NULL where none is. More than a minute or two: the scheduler does not run. Nobody waits for it.';
