-- keep_channel_events: partitions for the coming days, and those of old ones dropped.
-- Locks    one run at a time; core.channel_events while a partition is dropped
-- Decides  which days are over for longer than the rate channel_events_kept
-- Writes   partitions of core.channel_events, core.channel_days
-- Errors   TS801 CONFIGURATION_ERROR; 55P03 when a lock is not to be had: try again
CREATE OR REPLACE FUNCTION api.keep_channel_events() RETURNS text []
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM core._make_channel_days(clock_timestamp(), 3);
    RETURN core._drop_channel_days(clock_timestamp() - core._rate('channel_events_kept') * interval '1 day');
END;
$$;

COMMENT ON FUNCTION api.keep_channel_events() IS
'Makes the partitions of core.channel_events for the coming days, drops those whose day is over for longer than the rate channel_events_kept, and returns the names of what it dropped. The scheduler calls it hourly. What is dropped can be read no more (POSITION_LOST); the events themselves stay in core.outbox.';
