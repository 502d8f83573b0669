-- relay_lag: how far the relay is behind.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.relay_lag()
RETURNS TABLE (lag interval, backlog bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_state core.relay_state;
    v_first timestamptz;
    v_chunks record;
BEGIN
    SELECT r.* INTO v_state FROM core.relay_state AS r;
    SELECT sum(c.events)::bigint AS events, max(c.to_id) AS to_id INTO v_chunks FROM core.relay_chunks AS c;
    v_first := core._first_unrelayed(v_state.base, v_state.floor_id);
    lag := CASE WHEN v_first IS NOT NULL THEN greatest(clock_timestamp() - v_first, interval '0') END;
    backlog := CASE WHEN v_first IS NULL AND v_chunks.events IS NULL THEN 0 ELSE
        coalesce(v_chunks.events, 0)
        + greatest(
            (SELECT s.last_value FROM core.outbox_id_seq AS s) - greatest(v_state.last_id, v_chunks.to_id),
            CASE WHEN v_chunks.events IS NULL THEN 1 ELSE 0 END
        )
    END;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION api.relay_lag() IS
'Age of the first event that is committed and not relayed (NULL: all are; while a backlog is relayed in chunks: of its first event), and about how many there are: by the numbers given out, of which those of aborted and open transactions are never relayed or not yet.';
