-- channel_position: where a channel is.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.channel_position(p_channel text)
RETURNS TABLE (epoch uuid, seq bigint, first_seq bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_channel core.channels;
BEGIN
    SELECT c.* INTO v_channel FROM core.channels AS c WHERE c.channel = p_channel;
    epoch := (SELECT r.epoch FROM core.relay_state AS r);
    seq := coalesce(v_channel.seq, 0);
    first_seq := coalesce(
        (SELECT e.seq FROM core.channel_events AS e WHERE e.channel_id = v_channel.id ORDER BY e.seq LIMIT 1), seq + 1
    );
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION api.channel_position(text) IS
'The epoch, the number of the channel''s last event (0: it never had one), and that of the oldest one that can still be read; first_seq is seq + 1 where none can.';
