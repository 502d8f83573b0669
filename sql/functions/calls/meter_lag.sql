-- meter_lag: how far behind metering is.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.meter_lag() RETURNS interval
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT greatest(coalesce(clock_timestamp() - (SELECT min(k.due_at) FROM core.call_clocks AS k), '0'), '0')
$$;

COMMENT ON FUNCTION api.meter_lag() IS 'For how long the call that has waited longest has been due; zero where none is.';
