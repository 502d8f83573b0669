-- meter_lag: how far behind metering is, or when it has its next turn.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.meter_lag() RETURNS interval
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT clock_timestamp() - (SELECT min(k.due_at) FROM core.call_clocks AS k)
$$;

COMMENT ON FUNCTION api.meter_lag() IS 'For how long the call that has waited longest has been due; below zero: nothing is due, and the next call will be in so long. NULL where no call goes on.';
